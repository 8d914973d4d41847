"""The ten commonest causes: broken on purpose, found and mended through the pages, then delivered."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.pages import Page, Person
from tests.processes import wait_for
from tests.stack import Stack, running

pytestmark = pytest.mark.long

ADA = "ada@example.com"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One installation for all of them."""
    home: Path = tmp_path_factory.mktemp("causes")
    with running(home) as started:
        yield started


@pytest.fixture(scope="module")
def owner(stack: Stack) -> Person:
    """The demo's owner, with acme.se connected to Acme SE."""
    person = Person(stack)
    enabled = person.allow(person.press(person.open(""), "Enable"), "ACCTSE")
    connection = enabled.links("open-")[0]
    store = _option(person.open(connection), "acme.se")
    saved = person.press(person.open(connection), "Save changes", store=store)
    assert "Saved" in saved.text
    return person


def _option(page: Page, label: str) -> str:
    """The value of an option, by its words."""
    before = page.text.split(f">{label}<")[0]
    return before.rsplit('value="', 1)[1].split('"')[0]


def post(stack: Stack, kind: str = "event", email: str = ADA, key: str = "demo-ingest-key", **values: Any) -> str:
    """Post an activity; its id."""
    name = f"cause-{next(_numbers)}"
    activity = {
        "id": name,
        "type": kind,
        "store": "se",
        "occurred_at": datetime.now(UTC).isoformat(),
        "profile": {"email": email, "fields": {"points": next(_numbers)}},
        **({"event": "member_joined_program", "properties": {"shortId": "1"}} if kind == "event" else {}),
        **values,
    }
    assert stack.ingest(activity, key=key)["accepted"] == 1
    return name


def outcome(stack: Stack, activity: str, kind: str = "event", key: str = "demo-ingest-key") -> tuple[str, str]:
    for row in stack.activity(activity, key)["deliveries"]:
        if row["kind"] == kind:
            return row["status"], row["reason"]
    return "", ""


def becomes(
    stack: Stack, activity: str, wanted: tuple[str, str], kind: str = "event", key: str = "demo-ingest-key"
) -> None:
    wait_for(lambda: outcome(stack, activity, kind, key) == wanted, f"{activity} {wanted}", 20)


DELIVERED = ("delivered", "written")


def found(person: Person, status: str, reason: str, activity: str, title: str) -> Page:
    """From the causes to the list to the delivery, as somebody who looks for what is wrong."""
    causes = person.open("/deliveries?view=causes")
    listed = person.open(causes.link(f"cause-{status}-{reason}"))
    assert activity in listed.text
    row = listed.text.split(f"<code>{activity}</code>")[0].rsplit('id="delivery-', 1)[1].split('"')[0]
    page = person.open(listed.link(f"delivery-{row}"))
    assert title in page.title, page.title
    return page


def resend(person: Person, delivery: Page) -> Page:
    """Resend one delivery from its page."""
    confirm = person.open(delivery.link("resend"))
    assert confirm.title.endswith("again?"), confirm.title
    return person.press(confirm, "Send again")


def in_klaviyo(stack: Stack, activity: str, account: str = "ACCTSE") -> bool:
    return any(event["properties"].get("eventId") == activity for event in stack.sandbox.events(account))


def test_not_connected(stack: Stack) -> None:
    key = "other-ingest-key"
    person = Person(stack, "owner@other.test", "other")
    person.press(person.open("/events"), "Turn on recommended")
    activity = post(stack, email="alma@example.com", key=key, store="dk")
    page = found(person, "skipped", "not_connected", activity, "Not connected")
    enable = person.press(person.open(page.link("mend")), "Enable")
    person.allow(enable, "ACCTDK")
    resend(person, person.open(page.url))
    becomes(stack, activity, DELIVERED, key=key)
    wait_for(lambda: in_klaviyo(stack, activity, "ACCTDK"), "the event in Klaviyo")


def test_paused(stack: Stack, owner: Person) -> None:
    connection = owner.open("").links("open-")[0]
    owner.press(owner.open(connection), "Pause")
    activity = post(stack)
    becomes(stack, activity, ("waiting", "paused"))
    page = found(owner, "waiting", "paused", activity, "Paused")
    assert "Nothing is sent before somebody acts." in page.text
    owner.press(page, "Resume")
    becomes(stack, activity, DELIVERED)


def test_uninstalled(stack: Stack, owner: Person) -> None:
    stack.sandbox.uninstall("ACCTSE")
    activity = post(stack)
    becomes(stack, activity, ("waiting", "needs_reauthorization"))
    page = found(owner, "waiting", "needs_reauthorization", activity, "Reconnect needed")
    owner.allow(owner.press(page, "Reconnect"), "ACCTSE")
    becomes(stack, activity, DELIVERED)
    assert in_klaviyo(stack, activity)


def test_scope_missing(stack: Stack, owner: Person) -> None:
    stack.sandbox.fault("403", endpoint="POST /api/events", times=1)
    activity = post(stack)
    becomes(stack, activity, ("skipped", "scope_missing"))
    page = found(owner, "skipped", "scope_missing", activity, "Permission missing")
    owner.allow(owner.press(page, "Reconnect"), "ACCTSE")
    resend(owner, owner.open(page.url))
    becomes(stack, activity, DELIVERED)


def test_not_in_klaviyo(stack: Stack, owner: Person) -> None:
    activity = post(stack, email="new-person@example.com")
    becomes(stack, activity, ("skipped", "not_in_klaviyo"))
    page = found(owner, "skipped", "not_in_klaviyo", activity, "Not in Klaviyo")
    connection = owner.open(page.link("mend"))
    owner.press(connection, "Save changes", sync_behavior="create_profile")
    resend(owner, owner.open(page.url))
    becomes(stack, activity, DELIVERED)
    assert "new-person@example.com" in stack.sandbox.profiles("ACCTSE")
    owner.press(owner.open(connection.url), "Save changes", sync_behavior="update_existing")


def test_event_off(stack: Stack, owner: Person) -> None:
    joined = ("event", "member_joined_program")
    owner.press(owner.open("/events"), "Save", without=(joined,))
    activity = post(stack)
    becomes(stack, activity, ("skipped", "event_off"))
    page = found(owner, "skipped", "event_off", activity, "Event is off")
    confirm = owner.open(page.link("resend"))
    assert "their event is still off under Events" in confirm.text
    owner.press(owner.open(page.link("mend")), "Save", event="member_joined_program")
    owner.press(owner.open("/events"), "Turn on recommended")
    resend(owner, owner.open(page.url))
    becomes(stack, activity, DELIVERED)


def test_fields_off(stack: Stack, owner: Person) -> None:
    fields = owner.open("/profile-data")
    on = tuple((name, value) for name, value in fields.form("Save").fields if name == "field")
    assert on
    owner.press(fields, "Save", without=on)
    activity = post(stack, "profile")
    becomes(stack, activity, ("skipped", "fields_off"), "fields")
    page = found(owner, "skipped", "fields_off", activity, "Nothing shared")
    owner.press(owner.open(page.link("mend")), "Turn on recommended")
    resend(owner, owner.open(page.url))
    becomes(stack, activity, DELIVERED, "fields")


def test_no_route(stack: Stack, owner: Person) -> None:
    activity = post(stack, store="no")
    page = found(owner, "skipped", "no_route", activity, "No account for this store")
    new = owner.open(page.link("mend"))
    owner.allow(owner.press(new, "Create Connection", store=_option(new, "acme.no")), "ACCTNO")
    resend(owner, owner.open(page.url))
    becomes(stack, activity, DELIVERED)
    assert in_klaviyo(stack, activity, "ACCTNO")
    becomes(stack, activity, DELIVERED, "fields")


def test_rejected(stack: Stack, owner: Person) -> None:
    """Two fields that are fine by themselves make a profile of more than 100 KB."""
    huge = {"social_instagram_handle": "x" * 60_000, "tier_name": "y" * 60_000}
    activity = post(stack, "profile", email="bea@example.com", profile={"email": "bea@example.com", "fields": huge})
    becomes(stack, activity, ("failed", "rejected"), "fields")
    page = found(owner, "failed", "rejected", activity, "Refused by Klaviyo")
    assert "100 KB" in page.text
    owner.press(owner.open("/profile-data"), "Save", without=(("field", "social_instagram_handle"),))
    resend(owner, owner.open(page.url))
    becomes(stack, activity, DELIVERED, "fields")


def test_list_deleted(stack: Stack, owner: Person) -> None:
    """The profile is written, the list step is not; what comes after the list was chosen anew is put on it."""
    lists = stack.sandbox.lists("ACCTSE")
    connection = owner.open("").links("open-")[0]
    choose_list(stack, owner, connection, lists["Creators"]["id"])
    stack.sandbox.delete("ACCTSE", lists=(lists["Creators"]["id"],))
    activity = post(stack, email="first-new@example.com")
    becomes(stack, activity, ("delivered", "list_missing"), "fields")
    listed = owner.open("/deliveries?reason=list_missing")
    page = owner.open(listed.links("delivery-")[0])
    assert "Delivered, list is gone" in page.title
    choose_list(stack, owner, page.link("mend"), lists["Reviewers"]["id"])
    later = post(stack, email="second-new@example.com")
    becomes(stack, later, DELIVERED, "fields")
    assert stack.sandbox.lists("ACCTSE")["Reviewers"]["members"] == ["second-new@example.com"]


def choose_list(stack: Stack, owner: Person, connection: str, list_id: str) -> None:
    """Create profiles, and put them on a list; the lists are asked of Klaviyo by a worker."""
    page = owner.open(connection)
    if list_id not in page.text:
        owner.press(page, "Try again" if "Try again" in page.text else "Refresh")
        wait_for(lambda: list_id in owner.open(connection).text, "the account's lists", 10)
    saved = owner.press(owner.open(connection), "Save changes", sync_behavior="create_profile", list=list_id)
    assert "Saved" in saved.text, saved.text
