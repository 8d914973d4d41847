"""Server time of the connection table: 1,000 connections, 50 rows a page, and of a poll that finds nothing changed.

In this process, without a network: what the server spends on one request, sign-in check and all. `make bench`.
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
from sqlalchemy import insert

from benchmarks import flask_admin_list, report
from benchmarks.installation import address, gather_statistics, installed
from tests.apps import dispose, make_app
from tests.processes import wait_for
from tests.rows import ALL_SCOPES, Rows
from webapp import clock
from webapp.catalogue.words import Kind
from webapp.database import writing
from webapp.extensions import db
from webapp.models import Connection, ConnectionStat, Grant, Lane, LaneKind, Store
from webapp.services.workspaces import sessions
from webapp.views import connection_rows

CONNECTIONS = 1_000
RUNS = 400
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


def measure(
    call: Callable[..., tuple[str, str, float]], shelf: Callable[..., tuple[str, str, float]]
) -> dict[str, dict[str, float]]:
    """p50 and p99 of each kind of request, in turns, so that noise meets them alike.

    `page`: the whole page; `region`: what the poller gets; `region, all new`: with every row written anew; `unchanged
    poll`: a 204; `Flask-Admin`: its list view of the same rows.
    """
    poll = {"HTTP_HX_REQUEST": "true", "HTTP_HX_TARGET": "table"}
    assert call()[1].count("<tr id=") == 50
    assert shelf()[1].count("<tr") > 50
    taken: dict[str, list[float]] = {}
    for _ in range(RUNS):
        taken.setdefault("page", []).append(call()[2])
        _, region, milliseconds = call("since=none", **poll)
        taken.setdefault("region", []).append(milliseconds)
        version = re.search(r'data-version="([^"]+)"', region)
        assert version is not None
        status, _, milliseconds = call(f"since={version.group(1)}", **poll)
        if status.startswith("204"):  # not where the minute has just ended
            taken.setdefault("unchanged poll", []).append(milliseconds)
        connection_rows.forget()
        taken.setdefault("region, all new", []).append(call("since=none", **poll)[2])
        taken.setdefault("Flask-Admin", []).append(shelf()[2])
    assert len(taken["unchanged poll"]) > RUNS * 0.9
    return {name: _figures(times) for name, times in taken.items()}


def under_load() -> dict[str, dict[str, float]]:
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
        while len(taken["page"]) < RUNS and installation.sandbox.accounts()["ACCTSE"]["events"] < LOAD:
            taken["page"].append(call()[2])
            taken["region"].append(call("since=none", **poll)[2])
            time.sleep(0.01)
        spent = time.perf_counter() - began
        sent = installation.sandbox.accounts()["ACCTSE"]["events"] - before
        for child in busy:
            child.stop()
        print(f"{sent / spent:,.0f} events a second meanwhile, {len(taken['page'])} pages")
        return {name: _figures(times) for name, times in taken.items()}


def _figures(times: list[float]) -> dict[str, float]:
    times = sorted(times)
    return {"p50_ms": round(statistics.median(times), 2), "p99_ms": round(times[int(len(times) * 0.99)], 2)}


def main() -> None:
    """Print a table and keep the figures."""
    found: dict[str, Any] = {}
    for backend in ("sqlite", "postgresql"):
        with tempfile.TemporaryDirectory() as home:
            app = make_app(backend, Path(home))
            with app.app_context():
                cookie = seed(Rows())
                shelf = flask_admin_list.make_app(db.engines["read"])
            found[backend] = measure(caller(app, PATH, cookie), caller(shelf, flask_admin_list.PATH))
            dispose(app)
        title = f"Connection table on {backend}: {CONNECTIONS:,} connections, 50 rows, ms of server time"
        print(report.table(title, found[backend]), end="\n\n")
    found["under_load"] = under_load()
    print(report.table("The same on sqlite while two workers deliver at full speed", found["under_load"]))
    report.save("connection_table", {"connections": CONNECTIONS, "rows": 50, "runs": RUNS, **found})


if __name__ == "__main__":
    main()
