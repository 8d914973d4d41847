"""Answers with something in them that a database does not take: they count like any other, and are written down."""

from __future__ import annotations

from typing import Any

import pytest

from tests.jobs.klaviyo import Asked, Given, error, good
from tests.jobs.shop import Shop
from tests.rows import Rows
from webapp.catalogue.words import Kind

ENDPOINTS = {
    Kind.EVENT: "POST /api/events",
    Kind.FIELDS: "PATCH /api/profiles/{id}",
    Kind.CONSENT: "POST /api/profile-subscription-bulk-create-jobs",
}


@pytest.fixture
def shop(engine_rows: Rows) -> Shop:
    return Shop(engine_rows)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_nul_in_klaviyos_sentence_stalls_no_lane(shop: Shop, kind: Kind) -> None:
    delivery = shop.due(kind, shop.person(remembered=True))
    shop.klaviyo.script(ENDPOINTS[kind], error(400, detail="Not \x00 valid."))
    shop.drain(kind)
    assert shop.said(delivery) == ["failed: rejected"]
    assert shop.now(delivery).detail == "Not  valid."


@pytest.mark.parametrize(
    "header", ["X-Request-Id", "x-klaviyo-req-id", "X-Klaviyo-Api-Revision", "X-Klaviyo-Api-Retirement-Date"]
)
def test_a_header_that_is_longer_than_we_keep_is_cut(shop: Shop, header: str) -> None:
    delivery = shop.event(shop.person(remembered=True))
    status, headers, body = good(202)
    shop.klaviyo.script(
        ENDPOINTS[Kind.EVENT], (status, {**headers, "X-Klaviyo-Api-Revision": "1", header: "x" * 500}, body)
    )
    shop.drain(Kind.EVENT)
    assert shop.said(delivery) == ["delivered: written"]


def test_what_failed_in_an_import_job_may_hold_a_nul(shop: Shop) -> None:
    deliveries = [shop.fields(shop.person(remembered=True), points=1) for _ in range(80)]
    pointer = "/data/attributes/profiles/data/3/attributes/email"
    failed = {"type": "import-error", "id": "e", "attributes": {"detail": "a\x00b", "source": {"pointer": pointer}}}
    shop.klaviyo.script("GET /api/profile-bulk-import-jobs/{id}/import-errors", good(200, [failed]))
    done = {"type": "profile-bulk-import-job", "id": "job-1", "attributes": {"status": "complete", "failed_count": 1}}
    shop.klaviyo.script("GET /api/profile-bulk-import-jobs/{id}", good(200, done))
    shop.drain(Kind.FIELDS, times=2)
    assert shop.now(deliveries[3]).detail == "ab"
    assert shop.said(deliveries[3], deliveries[4]) == ["failed: rejected", "delivered: written"]


@pytest.mark.parametrize(
    "odd",
    [
        {"consent": "SUBSCRIBED", "consent_timestamp": "yesterday"},
        {"consent": "NEVER_SUBSCRIBED", "suppression": ["UNSUBSCRIBE"]},
        {"consent": "NEVER_SUBSCRIBED", "list_suppressions": [{"list_id": "LIST01", "timestamp": 5}]},
        "SUBSCRIBED",
    ],
)
def test_one_whose_marketing_state_cannot_be_read_keeps_no_neighbour_and_is_not_subscribed(
    shop: Shop, odd: Any
) -> None:
    people = [shop.person() for _ in range(3)]
    signups = [shop.consent(person) for person in people]
    shop.klaviyo.subscribed[str(people[1].email)] = odd
    shop.drain(Kind.CONSENT)
    assert shop.said(*signups) == ["delivered: written", "skipped: newer_opt_out", "delivered: written"]


@pytest.mark.parametrize("kind", [Kind.EVENT, Kind.FIELDS])
def test_one_whose_age_cannot_be_read_keeps_no_neighbour(shop: Shop, kind: Kind) -> None:
    people = [shop.person() for _ in range(3)]
    deliveries = [shop.due(kind, person) for person in people]

    def looked_up(asked: Asked) -> Given:
        rows = [shop.klaviyo._profile(email) for email in shop.klaviyo._wanted(asked)]
        rows[1]["attributes"]["created"] = "long ago"
        return good(200, rows)

    shop.klaviyo.script("GET /api/profiles", looked_up)
    shop.drain(kind)
    assert shop.said(*deliveries) == ["delivered: written"] * 3
