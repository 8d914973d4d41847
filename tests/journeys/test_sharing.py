"""What is shared, through real processes: test events, custom properties, syncs of existing people."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.browsing import TABLE, enable, sign_in, token_in
from tests.processes import wait_for
from tests.stack import Stack, running
from webapp.catalogue.events import EVENTS

pytestmark = pytest.mark.long

ACCOUNT = "ACCTSE"
ALL_BUT_TIER_EARNED = [key for key in EVENTS if key != "tier_earned"]


class Shop:
    """The demo's owner at a browser without JavaScript, Acme SE connected."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.sandbox = stack.sandbox
        self.browser: requests.Session = sign_in(stack)
        enable(stack, self.browser, ACCOUNT)
        links = re.findall(rf"{TABLE}/connections/(\d+)", self.get(""))
        self.connection = int(links[0])

    def get(self, path: str) -> str:
        answer = self.browser.get(f"{self.stack.url}{TABLE}{path}", timeout=10)
        assert answer.ok, answer.text
        return answer.text

    def post(self, path: str, form: dict[str, Any], *, page: str = "/events") -> requests.Response:
        data = {"csrf_token": token_in(self.get(page)), **form}
        answer = self.browser.post(f"{self.stack.url}{TABLE}{path}", data=data, timeout=10)
        assert answer.ok, answer.text
        return answer

    def profile(self, email: str) -> dict[str, Any]:
        found = self.sandbox.profiles(ACCOUNT).get(email)
        return found["properties"] if found else {}

    def ends(self, url: str, word: str, seconds: float = 30) -> str:
        """Wait until a page says `word`; its words."""

        def page() -> str:
            text = self.browser.get(url, timeout=10).text
            return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", text)))

        wait_for(lambda: word in page(), f"{word} at {url}", seconds)
        return page()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with running(tmp_path_factory.mktemp("stack")) as stack:
        yield Shop(stack)


def profile(identity: str, email: str, minute: int = 0, **fields: object) -> dict[str, Any]:
    return {
        "id": identity,
        "type": "profile",
        "store": "se",
        "occurred_at": f"2026-11-23T10:{minute:02}:00Z",
        "profile": {"email": email, "fields": fields},
    }


def test_a_test_event_arrives_while_off_and_creates_nobody(shop: Shop) -> None:
    shop.post("/events", {"event": ALL_BUT_TIER_EARNED})
    people = set(shop.sandbox.profiles(ACCOUNT))

    def send(email: str, **more: str) -> str:
        form = {"connection": shop.connection, "event": "tier_earned", "email": email, **more}
        return shop.post("/events/test", form).url

    shop.ends(send("ada@example.com"), "Klaviyo accepted it")
    shop.ends(send("ada@example.com", starts_flows="1"), "Klaviyo accepted it")
    shop.ends(send("nobody@example.com"), "Skipped: Not in Klaviyo")
    version = re.search(r'name="version" value="(\d+)"', shop.get(f"/connections/{shop.connection}"))
    assert version is not None
    form = {"version": version.group(1), "store": "", "sync_behavior": "create_profile"}
    shop.post(f"/connections/{shop.connection}", form, page=f"/connections/{shop.connection}")
    shop.ends(send("nobody@example.com"), "Skipped: Not in Klaviyo")
    form = {**form, "version": str(int(form["version"]) + 1), "sync_behavior": "update_existing"}
    shop.post(f"/connections/{shop.connection}", form, page=f"/connections/{shop.connection}")
    assert set(shop.sandbox.profiles(ACCOUNT)) == people
    events = [event for event in shop.sandbox.events(ACCOUNT) if event["metric"] == "Cevoid: Tier Earned"]
    assert [(event["email"], event["backfill"]) for event in events] == [
        ("ada@example.com", True),
        ("ada@example.com", False),
    ]
    assert len({event["unique_id"] for event in events}) == 2
    assert list(events[0]["properties"])[:5] == ["eventId", "occurredAt", "storeId", "storeName", "tierId"]


def test_a_custom_property_arrives_under_its_label(shop: Shop) -> None:
    made = {"label": "Shoe size", "key": "shoe_size", "type": "choices", "choices": "38\n39"}
    shop.post("/profile-data/properties", made, page="/profile-data")
    wrong = profile("shoe-0", "ada@example.com", shoe_size=["40"])
    answer = shop.stack.ingest(wrong, profile("shoe-1", "ada@example.com", shoe_size=["39"]))
    assert answer["rejected"][0]["error"] == "profile.fields.shoe_size must be a list out of: 38, 39"
    shop.post("/profile-data", {"field": ["points", "shoe_size"]}, page="/profile-data")
    shop.stack.ingest(profile("shoe-2", "ada@example.com", 1, shoe_size=["38", "39"], points=7))
    wait_for(lambda: shop.profile("ada@example.com").get("Cevoid: Shoe size") == ["38", "39"], "the shoe size", 15)
    retire = re.findall(r"/profile-data(/properties/\d+/retire)", shop.get("/profile-data"))[0]
    shop.post(f"/profile-data{retire}", {}, page=f"/profile-data{retire}")
    shop.stack.ingest(profile("shoe-3", "ada@example.com", 2, shoe_size=["38"], points=8))
    wait_for(lambda: shop.profile("ada@example.com").get("Cevoid: Points") == 8, "the points", 15)
    assert shop.profile("ada@example.com")["Cevoid: Shoe size"] == ["38", "39"]


def counted(shop: Shop) -> str:
    """Count people; the count's id as the start form has it."""
    url = shop.post("/backfills/counts", {"connection": shop.connection}).url
    shop.ends(url, "Would be updated")
    found = re.search(r'name="count" value="(\d+)"', shop.browser.get(url, timeout=10).text)
    assert found is not None
    return found.group(1)


def start(shop: Shop, name: str) -> str:
    """Start a sync; its page."""
    form = {"connection": shop.connection, "count": counted(shop), "name": name}
    url = shop.post("/backfills", form).url
    assert re.search(r"/backfills/\d+$", url), url
    return url


def test_a_field_turned_on_later_reaches_everybody_with_a_resync(shop: Shop) -> None:
    shop.stack.ingest(profile("later-1", "ada@example.com", 3, tier_name="Gold", points=9))
    wait_for(lambda: shop.profile("ada@example.com").get("Cevoid: Points") == 9, "the points", 15)
    assert "Cevoid: Tier Name" not in shop.profile("ada@example.com")
    page = shop.post("/profile-data", {"field": ["points", "tier_name"]}, page="/profile-data").text
    assert f"/backfills/new/{shop.connection}?reason=resync" in page
    shop.ends(start(shop, "Tier names"), "Done")
    assert shop.profile("ada@example.com")["Cevoid: Tier Name"] == "Gold"


def test_a_sync_survives_killed_workers_and_pauses(shop: Shop) -> None:
    emails = [f"member-{number}@example.com" for number in range(2_300)]
    there = emails[:2_000]
    shop.sandbox.put_profiles(ACCOUNT, *there)
    on = re.findall(r'name="shown" value="([^"]+)"', shop.get("/profile-data"))
    shop.post("/profile-data", {"complete": "1", "shown": on}, page="/profile-data")
    for first in range(0, len(emails), 1_000):
        chunk = emails[first : first + 1_000]
        shop.stack.ingest(*[profile(f"m-{email}", email, points=len(email)) for email in chunk])
    shop.post("/profile-data", {"field": ["points"]}, page="/profile-data")
    before = len(shop.sandbox.profiles(ACCOUNT))
    url = start(shop, "After the move")
    for worker in (*shop.stack.workers, shop.stack.slow_worker):
        worker.kill()
    shop.post(url.split(TABLE)[1] + "/pause", {})
    for worker in (*shop.stack.workers, shop.stack.slow_worker):
        worker.start()
    assert "Paused" in shop.ends(url, "Paused")
    shop.post(url.split(TABLE)[1] + "/resume", {})
    page = shop.ends(url, "Done", 60)
    profiles = shop.sandbox.profiles(ACCOUNT)
    wrong = [email for email in there if profiles[email]["properties"].get("Cevoid: Points") != len(email)]
    assert wrong == []
    assert len(profiles) == before
    assert "Not in Klaviyo: 300." in page
    assert "After the move" in shop.get("/backfills")


def test_a_cancelled_sync_puts_nobody_new_in_line(shop: Shop) -> None:
    url = start(shop, "By mistake")
    shop.post(url.split(TABLE)[1] + "/cancel", {})
    shop.ends(url, "Cancelled")
    shop.ends(url, "In line 0")
