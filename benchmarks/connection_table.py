"""Server time of the connection table: 1,000 connections, 50 rows a page, and of a poll that finds nothing changed.

Without a network: what the server spends on one request, sign-in check and all. `make bench`.
"""

from __future__ import annotations

import io
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy import Engine, insert

from benchmarks import flask_admin_list
from benchmarks.alone import alone
from benchmarks.installation import address, gather_statistics, installed
from benchmarks.report import Figure, tell
from tests.apps import dispose, make_app
from tests.processes import wait_for
from tests.rows import ALL_SCOPES, Rows
from webapp import clock
from webapp.catalogue.words import Kind
from webapp.database import writing
from webapp.extensions import db
from webapp.models import Connection, ConnectionStat, Grant, Lane, LaneKind, Store
from webapp.services.connections import table as connection_table
from webapp.services.workspaces import sessions
from webapp.views import connection_rows

CONNECTIONS = 1_000
TURNS = 50
OURS = {
    "page": 10,
    "page, read anew": 10,
    "page, all new": 10,
    "region": 10,
    "region, all new": 10,
    "unchanged poll": 40,
}
SHELF = "Flask-Admin"
AIMS = {"page": (5, 15), "page, read anew": (None, 15), "page, all new": (None, 15)}
PAGES = 400
LOAD = 60_000
PATH = "/w/bench/settings/integrations/klaviyo"


def seed(rows: Rows) -> str:
    """A workspace of CONNECTIONS that all deliver; the session cookie of its owner."""
    workspace = rows.workspace("bench")
    owner = rows.user(workspace)
    now = clock.now()
    numbers = range(1, CONNECTIONS + 1)
    hours = [now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=ago) for ago in range(24)]
    mine = {"workspace_id": workspace.id}
    tables: list[tuple[Any, Iterable[dict[str, Any]]]] = [
        (
            Store,
            (
                {**mine, "id": n, "external_id": f"s{n}", "name": f"store-{n}.example", "created_at": now}
                for n in numbers
            ),
        ),
        (Connection, (_connection(workspace.id, n) for n in numbers)),
        (Grant, (_grant(n) for n in numbers)),
        (Lane, ({**mine, "connection_id": n, **_lane(kind, n)} for n in numbers for kind in LaneKind)),
        (
            ConnectionStat,
            (
                {
                    **mine,
                    "connection_id": n,
                    "kind": kind,
                    "hour": hour,
                    "delivered": n % 97 + 1,
                    "skipped": n % 5,
                    "failed": n % 3,
                }
                for n in numbers
                for kind in Kind
                for hour in hours
            ),
        ),
    ]
    for table, values in tables:
        with writing() as session:
            session.execute(insert(table), list(values))
    gather_statistics()
    return sessions.begin(owner, "bench")


def _connection(workspace_id: int, number: int) -> dict[str, Any]:
    now = clock.now()
    return {
        "id": number,
        "workspace_id": workspace_id,
        "store_id": number,
        "klaviyo_account_id": f"ACC{number}",
        "account_name": f"Acme {number}",
        "state": "active",
        "state_at": now,
        "created_at": now,
        "last_delivered_at": now,
        "list_id": "L1",
        "list_name": "Newsletter",
        "list_opt_in": "double_opt_in",
    }


def _grant(number: int) -> dict[str, Any]:
    now = clock.now()
    sealed = {"access_token": "sealed", "refresh_token": "sealed", "scopes": ALL_SCOPES}
    return {"connection_id": number, **sealed, "expires_at": now, "refreshed_at": now, "granted_at": now}


def _lane(kind: LaneKind, number: int) -> dict[str, Any]:
    """Something waits in every tenth connection."""
    return {"kind": kind, "made": 5_000 + (number % 10 == 0), "delivered": 4_900, "skipped": 90, "failed": 10}


def caller(app: Flask, path: str, cookie: str = "") -> Callable[..., tuple[str, str, float]]:
    """`call(query, **headers)`: status, body and milliseconds of one GET."""

    def call(query: str = "", **headers: str) -> tuple[str, str, float]:
        environ: dict[str, Any] = {
            "REQUEST_METHOD": "GET",
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "8000",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "127.0.0.1:8000",
            "HTTP_COOKIE": f"cevoid={cookie}",
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": io.StringIO(),
            "wsgi.version": (1, 0),
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
            **headers,
        }
        answered = []
        started = time.perf_counter()

        def begin(status: str, _headers: Any, _problem: Any = None) -> Any:
            answered.append(status)  # nobody asks for the `write` that a server would give back

        answer = app.wsgi_app(environ, begin)
        body = b"".join(answer)
        getattr(answer, "close", lambda: None)()
        return answered[0], body.decode(), (time.perf_counter() - started) * 1000

    return call


def ours(app: Flask, cookie: str) -> dict[str, Callable[[], float | None]]:
    """Each kind of request to our table, by name: what it takes in ms, None where it was not what it is meant to be.

    `page`: the whole page, asked for again; `region`: what a poll gets that shows another version. `read anew`: after
    something has changed, so that every row is read; `all new`: after everything has, so that every row is written too.
    `unchanged poll`: a 204.
    """
    call = caller(app, PATH, cookie)
    poll = {"HTTP_HX_REQUEST": "true", "HTTP_HX_TARGET": "table"}
    version = "none"

    def anew(request: Callable[[], tuple[str, str, float]], *, written: bool = False) -> float:
        with app.app_context():
            connection_table.forget()
        if written:
            connection_rows.forget()
        return request()[2]

    def region() -> tuple[str, str, float]:
        return call("since=none", **poll)

    def unchanged() -> float | None:
        nonlocal version
        status, body, milliseconds = call(f"since={version}", **poll)
        if status.startswith("204"):
            return milliseconds
        found = re.search(r'data-version="([^"]+)"', body)
        assert found is not None
        version = found.group(1)  # the first time, and where the minute has just ended
        return None

    assert call()[1].count("<tr id=") == 50
    return {
        "page": lambda: call()[2],
        "page, read anew": lambda: anew(call),
        "page, all new": lambda: anew(call, written=True),
        "region": lambda: region()[2],
        "region, all new": lambda: anew(region, written=True),
        "unchanged poll": unchanged,
    }


def shelf(engine: Engine) -> dict[str, Callable[[], float | None]]:
    """Flask-Admin's list view of the same rows."""
    call = caller(flask_admin_list.make_app(engine), flask_admin_list.PATH)
    assert call()[1].count("<tr") > 50
    return {SHELF: lambda: call()[2]}


def measure(app: Flask, cookie: str) -> dict[str, list[float]]:
    """Milliseconds of each kind of request, in turns, so that noise meets them alike.

    Ours and Flask-Admin each in a process of its own, as they would be served: in one, either would find the caches
    full of the other. A turn has as many of each kind as an open tab makes of them, roughly.
    """
    taken: dict[str, list[float]] = {}
    with alone(lambda: ours(app, cookie)) as table, alone(lambda: shelf(db.engines["read"])) as other:
        for _ in range(TURNS):
            for asked, kinds in ((table, OURS), (other, {SHELF: 10})):
                for kind, times in kinds.items():
                    taken.setdefault(kind, []).extend(asked(kind, times))
    assert len(taken["unchanged poll"]) > TURNS * OURS["unchanged poll"] * 0.9
    return taken


def under_load() -> dict[str, list[float]]:
    """The same on SQLite while two workers deliver as fast as they can, all on this machine: the page and the polls."""
    with tempfile.TemporaryDirectory() as home, installed(Path(home), "sqlite") as installation:
        cookie = seed(Rows())
        connection = installation.connect("ACCTSE", "busy")
        installation.sandbox.put_profiles("ACCTSE", *(address(number) for number in range(1_000)))
        installation.backlog(connection.workspace_id, LOAD, 1_000)
        call = caller(installation.app, PATH, cookie)
        poll = {"HTTP_HX_REQUEST": "true", "HTTP_HX_TARGET": "table"}
        taken: dict[str, list[float]] = {"page": [], "region": []}
        busy = [installation.sweeper, *installation.workers]
        for child in busy:
            child.start()
        wait_for(lambda: installation.sandbox.accounts()["ACCTSE"]["events"], "the first delivery", 60)
        before = installation.sandbox.accounts()["ACCTSE"]["events"]
        began = time.perf_counter()
        while len(taken["page"]) < PAGES and installation.sandbox.accounts()["ACCTSE"]["events"] < LOAD:
            taken["page"].append(call()[2])
            taken["region"].append(call("since=none", **poll)[2])
            time.sleep(0.01)
        spent = time.perf_counter() - began
        sent = installation.sandbox.accounts()["ACCTSE"]["events"] - before
        for child in busy:
            child.stop()
        print(f"{sent / spent:,.0f} events a second meanwhile, {len(taken['page'])} pages")
        return taken


def figures(where: str, taken: dict[str, list[float]]) -> list[Figure]:
    """Medians and ninety-ninth percentiles of each kind, and how ours compare."""
    at_half = {kind: statistics.median(times) for kind, times in taken.items()}
    found = []
    for kind, times in taken.items():
        most = AIMS.get(kind, (None, None))
        found.append(Figure(f"{where}: {kind}, p50", at_half[kind], "ms", at_most=most[0]))
        found.append(Figure(f"{where}: {kind}, p99", sorted(times)[int(len(times) * 0.99)], "ms", at_most=most[1]))
    found.append(
        Figure(f"{where}: {SHELF}'s list / page, all new", at_half[SHELF] / at_half["page, all new"], at_least=1)
    )
    poll = at_half[SHELF] / at_half["unchanged poll"]
    found.append(Figure(f"{where}: {SHELF}'s list / unchanged poll", poll, at_least=5))
    return found


def main() -> None:
    """Print the figures beside their aims and keep them."""
    found = []
    for backend in ("sqlite", "postgresql"):
        with tempfile.TemporaryDirectory() as home:
            app = make_app(backend, Path(home))
            with app.app_context():
                cookie = seed(Rows())
                found += figures(backend, measure(app, cookie))
            dispose(app)
    for kind, times in under_load().items():
        most = sorted(times)[int(len(times) * 0.99)]
        found.append(Figure(f"sqlite while two workers deliver at full speed: {kind}, p99", most, "ms", at_most=50))
    tell("connection_table", f"Connection table: {CONNECTIONS:,} connections, 50 rows, server time of a request", found)


if __name__ == "__main__":
    main()
