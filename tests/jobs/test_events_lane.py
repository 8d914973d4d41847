"""One event at a time: what every answer of Klaviyo's makes of it, and that it always goes out under the same id."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import requests
from sqlalchemy import select

from tests.jobs.klaviyo import error, good, html, throttled
from tests.jobs.shop import CREATES, Shop
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.reasons import Status
from webapp.catalogue.words import Kind, Origin
from webapp.database import reading, writing
from webapp.extensions import db
from webapp.models import Activity, BatchOutcome, ConnectionState, Delivery, Person, ScopeProof
from webapp.services.activities.ingest import unique_id
from webapp.services.deliveries import activity_status

EVENT = "POST /api/events"
LOOK = "GET /api/profiles"
GONE = error(400, "/data/attributes/profile/data/id", detail="A profile with that id does not exist.")


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows)


def one(shop: Shop, *answers: Any) -> Any:
    """An event of somebody remembered, sent into these answers."""
    person = shop.person(remembered=True)
    delivery = shop.event(person)
    shop.klaviyo.script(EVENT, *answers)
    shop.drain(Kind.EVENT)
    return person, delivery


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_taken(shop: Shop, status: int) -> None:
    person, delivery = one(shop, good(status))
    assert shop.said(delivery) == ["delivered: written"]
    row = shop.now(delivery)
    assert (row.attempts, row.settled_at is not None, row.detail) == (1, True, None)
    (asked,) = shop.klaviyo.calls(EVENT)
    assert asked.event["id"] == shop.klaviyo.people[person.email]
    assert asked.event["email"] is None
    assert shop.attempts() == [(EVENT, status, "done")]
    (batch,) = shop.batches()
    assert (batch.outcome, batch.id, batch.members) == (BatchOutcome.ACCEPTED, row.batch_id, None)
    lane = shop.lane(Kind.EVENT)
    assert (shop.open_batches(Kind.EVENT), lane.next_at, lane.failures) == ([], None, 0)
    assert shop.again().last_delivered_at is not None


@pytest.mark.parametrize(
    ("answer", "said", "detail"),
    [
        (error(400, detail="Bad value for ada@example.com"), "failed: rejected", "Bad value for [address]"),
        (error(400, "/data/attributes/time", detail="Too early."), "failed: rejected", "Too early."),
        (error(422, detail="No."), "failed: rejected", "No."),
        (error(409, detail="Conflict."), "failed: rejected", "Conflict."),
        (error(413, detail="Too large."), "failed: payload_too_large", "Too large."),
        (html(413), "failed: payload_too_large", "Klaviyo answered 413."),
        (error(403, detail="You do not have permission."), "skipped: scope_missing", None),
    ],
)
def test_refused_for_good(shop: Shop, answer: Any, said: str, detail: str | None) -> None:
    _, delivery = one(shop, answer)
    assert shop.said(delivery) == [said]
    row = shop.now(delivery)
    assert (row.attempts, row.detail) == (1, detail)
    assert not shop.open_batches(Kind.EVENT)
    shop.drain(Kind.EVENT, times=2)
    assert len(shop.klaviyo.calls(EVENT)) == 1


def test_a_missing_scope_is_written_down(shop: Shop) -> None:
    one(shop, error(403))
    with reading() as session:
        proof = session.scalars(select(ScopeProof).where(ScopeProof.connection_id == shop.connection.id)).one()
    assert (proof.scope, proof.refused_by, proof.proven_at) == ("events:write", EVENT, None)


NOT_TAKEN: dict[str, list[Any]] = {
    "html 403": [html(403)],
    "html 401 twice": [html(401), html(401)],
    "redirect": [html(302)],
    "405": [error(405)],
    "406": [error(406)],
    "410": [error(410)],
    "415": [error(415)],
    "not sent": [requests.exceptions.ConnectTimeout()],
}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (error(405), "answered 405"),
        (html(403), "answered 403"),
        (error(500), "answered 500"),
        (requests.exceptions.ConnectTimeout(), "could not be reached"),
        (requests.exceptions.ReadTimeout(), "did not answer"),
        (throttled(5), None),
    ],
)
def test_what_klaviyo_did_is_said_beside_why_it_waits(shop: Shop, answer: Any, why: str | None) -> None:
    one(shop, answer)
    assert shop.lane(Kind.EVENT).held_detail == why


@pytest.mark.parametrize("answers", NOT_TAKEN.values(), ids=list(NOT_TAKEN))
def test_not_taken_and_tried_again(shop: Shop, answers: list[Any]) -> None:
    _, delivery = one(shop, *answers)
    assert shop.said(delivery) == ["waiting: backlog"]
    lane = shop.lane(Kind.EVENT)
    assert (lane.held_reason, lane.failures) == ("retrying", 1)
    assert lane.held_until is not None
    assert lane.held_until > clock.now()
    (batch,) = shop.batches()
    assert (batch.outcome, batch.unknown_times) == (BatchOutcome.UNKNOWN, 0)
    again(shop, delivery)


def again(shop: Shop, delivery: Any) -> None:
    """The next time it is taken: the same event, under the same id, in the same batch."""
    shop.drain(Kind.EVENT, times=2)
    assert shop.said(delivery) == ["delivered: written"]
    sent = [asked.event for asked in shop.klaviyo.calls(EVENT)]
    with reading() as session:
        external_id = session.get_one(type(shop.rows.activity(shop.workspace)), delivery.activity_id).external_id
    assert {event["unique_id"] for event in sent} == {unique_id(shop.workspace.id, external_id)}
    assert len(shop.batches()) == 1
    assert shop.lane(Kind.EVENT).failures == 0


@pytest.mark.parametrize(
    "answer",
    [
        *(html(status) for status in (500, 502, 503, 504, 524)),
        error(500),
        html(200),
        requests.exceptions.ReadTimeout(),
        requests.exceptions.ConnectionError(ConnectionResetError(104, "reset")),
    ],
    ids=["500", "502", "503", "504", "524", "json 500", "html 200", "timeout", "reset"],
)
def test_perhaps_taken_goes_again_under_the_same_id(shop: Shop, answer: Any) -> None:
    person, delivery = one(shop, answer)
    assert shop.said(delivery) == ["waiting: backlog"]
    (batch,) = shop.batches()
    assert (batch.outcome, batch.unknown_times) == (BatchOutcome.UNKNOWN, 1)
    assert shop.lane(Kind.EVENT).held_reason == "retrying"
    assert shop.link(person).rewrite is False
    again(shop, delivery)
    link = shop.link(person)
    assert link.rewrite, "what the first sending carried may arrive last: the person is written once more"
    assert link.unsettled_until is not None
    assert link.unsettled_until > clock.now() + timedelta(minutes=5)


def test_a_429_holds_the_lane_and_the_budget_and_is_no_failure(shop: Shop) -> None:
    person, delivery = one(shop, throttled(30))
    assert shop.said(delivery) == ["waiting: backlog"]
    lane = shop.lane(Kind.EVENT)
    assert (lane.held_reason, lane.failures) == ("rate_limited", 0)
    assert lane.held_until is not None
    assert timedelta(seconds=27) < lane.held_until - clock.now() < timedelta(seconds=32)
    with writing() as session:
        session.get_one(type(lane), lane.id).held_until = None
    shop.drain(Kind.EVENT)
    assert len(shop.klaviyo.calls(EVENT)) == 1, "the account's budget is blocked, whoever asks"
    assert shop.lane(Kind.EVENT).held_reason == "rate_limited"
    again(shop, delivery)
    assert shop.link(person).rewrite is False, "it certainly was not taken"


@pytest.mark.parametrize("answer", [throttled(1), error(500), requests.ConnectionError("reset")])
def test_the_platform_is_told_of_every_call_that_was_made(shop: Shop, answer: Any) -> None:
    _, delivery = one(shop, answer)
    assert told(shop, delivery) == ("waiting", 1)
    shop.wait_is_over()
    shop.drain(Kind.EVENT)
    assert told(shop, delivery) == ("delivered", 2)


def told(shop: Shop, delivery: Delivery) -> tuple[str, int]:
    """Status and calls as `GET /api/v1/activities/<id>` has them."""
    with reading() as session:
        external_id = session.get_one(Activity, delivery.activity_id).external_id
    db.session.rollback()
    found = activity_status.of(shop.workspace.id, external_id)
    assert found is not None
    (shown,) = found["deliveries"]
    return str(shown["status"]), shown["attempts"]


def test_a_401_is_answered_with_a_new_token_once(shop: Shop) -> None:
    _, delivery = one(shop, error(401))
    assert shop.said(delivery) == ["delivered: written"]
    assert [asked.token for asked in shop.klaviyo.calls(EVENT)] == [f"access-{shop.connection.id}", "access-new-1"]
    assert shop.attempts() == [(EVENT, 401, "again"), (EVENT, 202, "done")]
    _, refused = one(shop, error(401), error(401))
    assert shop.said(refused) == ["waiting: backlog"]
    assert shop.klaviyo.refreshed == 2
    assert shop.lane(Kind.EVENT).held_reason == "retrying"


def test_a_grant_that_ended_loses_nothing(shop: Shop) -> None:
    shop.klaviyo.grants_ended = True
    _, delivery = one(shop, error(401))
    assert shop.said(delivery) == ["waiting: backlog"]
    assert shop.again().state is ConnectionState.NEEDS_REAUTHORIZATION
    assert shop.lane(Kind.EVENT).stopped
    assert shop.attempts() == [(EVENT, 401, "again")], "the call was made, so it is written down"


@pytest.mark.parametrize("answer", [error(404), GONE], ids=["404", "pointer"])
def test_a_remembered_id_that_is_gone_is_looked_up_again_once(shop: Shop, answer: Any) -> None:
    person = shop.person(remembered=True)
    delivery = shop.event(person)
    shop.klaviyo.script(EVENT, answer)
    merged = shop.klaviyo.put(str(person.email))
    shop.drain(Kind.EVENT)
    assert shop.said(delivery) == ["delivered: written"]
    assert shop.klaviyo.endpoints == [EVENT, LOOK, EVENT]
    assert shop.klaviyo.calls(EVENT)[-1].event["id"] == merged
    shop.klaviyo.script(EVENT, answer, answer)
    lost = shop.event(person)
    shop.drain(Kind.EVENT)
    assert shop.said(lost) == ["skipped: not_in_klaviyo"]
    assert shop.klaviyo.endpoints[3:] == [EVENT, LOOK, EVENT]


def test_somebody_deleted_in_klaviyo_meanwhile_is_not_created_by_sending_again(shop: Shop) -> None:
    """Unknown, then ten minutes: by address the second sending would create them."""
    person, delivery = one(shop, html(500))
    del shop.klaviyo.people[person.email]
    with writing() as session:
        session.merge(shop.link(person)).looked_up_at = clock.now() - timedelta(minutes=11)
    shop.drain(Kind.EVENT, times=2)
    assert shop.said(delivery) == ["skipped: not_in_klaviyo"]
    assert shop.klaviyo.endpoints == [EVENT, LOOK]
    assert [batch.outcome for batch in shop.batches()] == [BatchOutcome.ACCEPTED]
    assert not shop.open_batches(Kind.EVENT)


def test_somebody_erased_meanwhile_is_not_sent_again(shop: Shop) -> None:
    person, delivery = one(shop, html(500))
    with writing() as session:
        session.get_one(Person, person.id).email = None
    shop.drain(Kind.EVENT, times=2)
    assert shop.said(delivery) == ["skipped: erased"]
    assert len(shop.klaviyo.calls(EVENT)) == 1


def test_update_existing_sends_nothing_about_strangers(shop: Shop) -> None:
    delivery = shop.event(shop.person(there=False))
    shop.drain(Kind.EVENT)
    assert shop.said(delivery) == ["skipped: not_in_klaviyo"]
    assert shop.klaviyo.endpoints == [LOOK]


def test_create_profile_sends_by_address_and_a_test_event_never_does(engine_rows: Rows) -> None:
    shop = Shop(engine_rows, sync_behavior=CREATES)
    stranger, tested = shop.person(there=False), shop.person(there=False)
    delivery, trial = shop.event(stranger), shop.event(tested, origin=Origin.TEST)
    shop.drain(Kind.EVENT)
    assert shop.said(delivery, trial) == ["delivered: written", "skipped: not_in_klaviyo"]
    (asked,) = shop.klaviyo.calls(EVENT)
    assert (asked.event["id"], asked.event["email"]) == (None, stranger.email)


@pytest.mark.parametrize(
    ("lacking", "behavior", "said"),
    [
        ("events:write", {}, "skipped: scope_missing"),
        ("profiles:read", {}, "skipped: scope_missing"),
        ("profiles:read", {"sync_behavior": CREATES}, "delivered: written"),
    ],
)
def test_without_its_scopes_nothing_is_asked(engine_rows: Rows, lacking: str, behavior: Any, said: str) -> None:
    from tests.rows import ALL_SCOPES

    scopes = " ".join(scope for scope in ALL_SCOPES.split() if scope != lacking)
    shop = Shop(engine_rows, scopes=scopes, **behavior)
    delivery = shop.event(shop.person())
    shop.drain(Kind.EVENT)
    assert shop.said(delivery) == [said]
    assert LOOK not in shop.klaviyo.endpoints
    assert shop.now(delivery).status is not Status.WAITING
