"""Klaviyo's answers read as values; whatever is not as documented is said so, never stumbled over."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.klaviyo import parse
from webapp.klaviyo.parse import FoundList, ImportJob, UnexpectedAnswer

AT = datetime(2026, 11, 23, 10, tzinfo=UTC)
ALL = (parse.account, parse.profiles, parse.profile_id, parse.import_job, parse.import_errors, parse.lists)


def profile(**attributes: Any) -> dict[str, Any]:
    return {"type": "profile", "id": "01A", "attributes": {"email": "Ada@Example.com ", **attributes}}


def marketing(**values: Any) -> dict[str, Any]:
    return {"subscriptions": {"email": {"marketing": values}}}


def test_the_account() -> None:
    contact = {"contact_information": {"organization_name": "Acme"}}
    assert parse.account({"data": [{"id": "ACC1", "attributes": contact}]}) == ("ACC1", "Acme")
    assert parse.account({"data": [{"id": "ACC1"}]}) == ("ACC1", "ACC1")
    wrong: list[Any] = [{"data": []}, {"data": [{}]}, {"data": {"id": "ACC1"}}]
    for body in wrong:
        with pytest.raises(UnexpectedAnswer):
            parse.account(body)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("Åhléns & Söner <b>AB</b>", "Åhléns & Söner <b>AB</b>"),  # pages escape; what it is stays what it is
        (" Acme\r\n  AB\t", "Acme AB"),
        ("Acme\x00AB", "Acme AB"),  # PostgreSQL takes no NUL
        ("Acme \u202eEVIL", "Acme EVIL"),  # would turn the rest of the page's line around
        ("\u200b \n", "ACC1"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 199 + "…"),
    ],
)
def test_a_name_that_people_chose_is_one_line_that_our_columns_hold(name: str, kept: str) -> None:
    contact = {"contact_information": {"organization_name": name}}
    assert parse.account({"data": [{"id": "ACC1", "attributes": contact}]})[1] == kept
    (found,), _ = parse.lists({"data": [{"id": "ACC1", "attributes": {"name": name}}]})
    assert found.name == kept


def test_a_looked_up_profile_has_our_form_of_the_address() -> None:
    (found,) = parse.profiles({"data": [profile(created="2026-11-23T10:00:00Z")]})
    assert (found.id, found.email, found.created_at, found.is_subscribed) == ("01A", "ada@example.com", AT, False)
    (nameless,) = parse.profiles({"data": [{"id": "01A", "attributes": {"email": None}}]})
    assert nameless.email == ""


@pytest.mark.parametrize(
    ("state", "subscribed", "consented", "opted_out"),
    [
        ({"consent": "SUBSCRIBED", "consent_timestamp": "2026-11-23T10:00:00+00:00"}, True, AT, None),
        ({"consent": "SUBSCRIBED", "last_updated": "2026-11-23T10:00:00"}, True, AT, None),
        ({"consent": "UNSUBSCRIBED", "last_updated": "2026-11-23T11:00:00+01:00"}, False, None, AT),
        ({"consent": "NEVER_SUBSCRIBED", "last_updated": "2026-11-23T10:00:00Z"}, False, None, None),
        (
            {"suppression": [{"timestamp": "2026-11-22T10:00:00Z"}, {"timestamp": "2026-11-23T10:00:00Z"}]},
            False,
            None,
            AT,
        ),
        ({"suppression": None, "consent": None}, False, None, None),
    ],
)
def test_marketing_state(
    state: dict[str, Any], subscribed: bool, consented: datetime | None, opted_out: datetime | None
) -> None:
    (found,) = parse.profiles({"data": [profile(**marketing(**state))]})
    assert (found.is_subscribed, found.consented_at, found.opted_out_at) == (subscribed, consented, opted_out)


@pytest.mark.parametrize("consent", ["SUBSCRIBED", "NEVER_SUBSCRIBED"])
@pytest.mark.parametrize(
    ("reasons", "has_opted_out"),
    [
        (["HARD_BOUNCE", "INVALID_EMAIL"], False),
        (["UNSUBSCRIBE"], True),
        (["SPAM_COMPLAINT"], True),
        (["HARD_BOUNCE", "USER_SUPPRESSED"], True),
        (["A_NEW_ONE"], True),
        ([None], True),
    ],
)
def test_only_mail_that_did_not_get_there_suppresses_without_being_an_opt_out(
    consent: str, reasons: list[str | None], has_opted_out: bool
) -> None:
    rows = [{"reason": reason, "timestamp": "2026-11-23T10:00:00Z"} for reason in reasons]
    (found,) = parse.profiles({"data": [profile(**marketing(consent=consent, suppression=rows))]})
    assert (found.has_opted_out, found.opted_out_at) == (has_opted_out, AT if has_opted_out else None)
    assert found.is_subscribed is (consent == "SUBSCRIBED")


def test_a_suppression_whose_time_is_not_told_may_be_the_last() -> None:
    rows = [{"reason": "UNSUBSCRIBE", "timestamp": "2026-11-23T10:00:00Z"}, {}]
    (found,) = parse.profiles({"data": [profile(**marketing(consent="SUBSCRIBED", suppression=rows))]})
    assert (found.has_opted_out, found.opted_out_at) == (True, None)


def test_a_written_profiles_id() -> None:
    assert parse.profile_id({"data": profile()}) == "01A"
    for odd in ("", "q" * 65, "01A\0", "01\nA"):
        with pytest.raises(UnexpectedAnswer):
            parse.profile_id({"data": {**profile(), "id": odd}})


@pytest.mark.parametrize(
    ("status", "over"), [("queued", False), ("processing", False), ("complete", True), ("cancelled", True)]
)
def test_an_import_job(status: str, over: bool) -> None:
    body = {
        "data": {"id": "job", "attributes": {"status": status, "created_at": "2026-11-23T10:00:00Z", "failed_count": 2}}
    }
    job = parse.import_job(body)
    assert (job, job.is_over) == (ImportJob("job", status, AT, 2), over)
    assert parse.import_job({"data": {"id": "job"}}) == ImportJob("job", "queued", None, 0)


def test_import_errors_by_their_place_and_the_next_page() -> None:
    def error(pointer: str, **attributes: str) -> dict[str, Any]:
        return {"type": "import-error", "attributes": {"source": {"pointer": pointer}, **attributes}}

    body = {
        "data": [
            error("/data/attributes/profiles/data/4/attributes/email", detail="ada@example.com is not valid."),
            error("/data/attributes/profiles/data/11", title="Too large."),
            error("/data/attributes", detail="of nobody"),
            {"attributes": {}},
        ],
        "links": {"next": "https://a.klaviyo.test/x?page%5Bcursor%5D=bmV4dA%3D%3D&page%5Bsize%5D=100"},
    }
    found, cursor = parse.import_errors(body)
    assert found == [(4, "[address] is not valid."), (11, "Too large.")]
    assert cursor == "bmV4dA=="
    assert parse.import_errors({"data": [], "links": {"next": None}}) == ([], None)
    assert parse.import_errors({"data": []}) == ([], None)


def test_lists_and_the_next_page() -> None:
    row = {"id": "LIST01", "attributes": {"name": "News", "opt_in_process": "double_opt_in"}}
    found, cursor = parse.lists({"data": [row, {"id": "LIST02"}], "links": {"next": "/api/lists?page[cursor]=abc"}})
    assert found == [FoundList("LIST01", "News", "double_opt_in"), FoundList("LIST02", "LIST02", "")]
    assert cursor == "abc"


keys = st.sampled_from(
    ["data", "id", "attributes", "email", "subscriptions", "marketing", "created", "links", "next", "source"]
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.just("2026-13-45T00:00:00Z"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize("read", ALL, ids=lambda read: read.__name__)
@given(anything, st.booleans())
def test_any_other_answer_is_unexpected_and_nothing_else(read: Any, body: Any, wrapped: bool) -> None:
    with suppress(UnexpectedAnswer):
        read({"data": body} if wrapped else body)


@pytest.mark.parametrize("read", ALL, ids=lambda read: read.__name__)
def test_a_thousand_lists_in_the_place_of_a_text_are_unexpected(read: Any) -> None:
    deep: Any = orjson.loads("[" * 1_000 + "]" * 1_000)
    entry = {"id": deep, "attributes": {"detail": deep, "source": {"pointer": deep}}}
    for body in (entry, [entry]):
        with pytest.raises(UnexpectedAnswer):
            read({"data": body})


@pytest.mark.parametrize("read", ALL, ids=lambda read: read.__name__)
@pytest.mark.parametrize("body", [None, "", "<html>", [], {}, {"errors": []}, 7])
def test_no_data_is_unexpected(read: Any, body: Any) -> None:
    with pytest.raises(UnexpectedAnswer):
        read(body)
