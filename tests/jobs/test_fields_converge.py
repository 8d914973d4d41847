"""Whatever Klaviyo answers to writes of fields, and whenever they take effect: everybody ends at the newest, once."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from jobs import drain
from tests.jobs.import_jobs import ADD, ERRORS, JOB, PATCH, STATUS, at
from tests.jobs.klaviyo import Asked, FakeKlaviyo, Given, error, good, html, throttled
from tests.jobs.shop import CREATES, Killed, Shop
from tests.rows import Rows
from webapp import clock
from webapp.catalogue.reasons import Status
from webapp.catalogue.words import Kind, SyncBehavior
from webapp.database import reading, writing
from webapp.models import Budget, Delivery, Person, ProfileLink

IMPORT, EVENT = "POST /api/profile-import", "POST /api/events"
POINTS = "Cevoid: Points"
ANSWERS = (
    ["good"] * 6
    + ["500 late"] * 3
    + ["400", "404", "409", "410", "413", "429", "500", "odd"]
    + ["403 html", "500 done"]
)


class Moody(FakeKlaviyo):
    """Keeps what is written, and answers as `moods` say; what is `late` takes effect when `settle` is called."""

    def begin(self, moods: random.Random, trouble: float) -> None:
        self.moods, self.trouble = moods, trouble
        self.properties: dict[str, dict[str, Any]] = defaultdict(dict)
        self.late: list[Callable[[], object]] = []
        self.born: dict[str, str] = {}
        self.listed: list[str] = []
        self.created = 0
        self.kills = False

    def settle(self) -> None:
        """All that was under way takes effect, in any order."""
        self.moods.shuffle(self.late)
        while self.late:
            self.late.pop()()

    def _profile(self, email: str) -> dict[str, Any]:
        found = super()._profile(email)
        found["attributes"]["created"] = self.born.get(email, "2026-01-01T00:00:00+00:00")
        return found

    def _write(self, item: Any) -> str:
        """One profile of a body, by id or address; its id."""
        attributes, unset = item["attributes"], (item.get("meta") or {}).get("patch_properties", {}).get("unset", [])
        profile_id = item.get("id")
        if profile_id is None:
            email = attributes["email"]
            if email not in self.people:
                self.created += 1
                self.born[email] = clock.iso(clock.now())
                self.put(email)
            profile_id = self.people[email]
        for key, value in {**attributes.get("properties", {}), **dict.fromkeys(unset)}.items():
            self.properties[profile_id][key] = value
        return str(profile_id)

    def _usual(self, asked: Asked) -> Given:
        mood = self.moods.choice(ANSWERS) if self.moods.random() < self.trouble else "good"
        works: dict[str, Callable[[Asked], Given]] = {
            PATCH: self._patched, IMPORT: self._imported, JOB: self._job, STATUS: self._status, ERRORS: self._errors,
            ADD: self._added,
        }  # fmt: skip
        work = works.get(asked.endpoint, super()._usual)
        if asked.endpoint == EVENT:  # its fields take effect some time after it was accepted
            profile = asked.body["data"]["attributes"]["profile"]["data"]
            self.late.append(lambda: self._write(profile))
            return good(202)
        if self.kills and asked.endpoint in {PATCH, IMPORT, JOB, ADD}:
            self.kills = False
            self.asked.pop()  # nobody is left to write it down
            if self.moods.random() < 0.5:
                work(asked)
            raise Killed
        if mood == "good":
            return work(asked)
        if mood == "500 done":
            work(asked)
            return html(500)
        if mood == "500 late":
            if asked.endpoint in {PATCH, IMPORT, JOB}:
                self.late.append(lambda: work(asked))
            return html(500)
        if mood == "odd":
            status, headers, _ = work(asked)
            return (status, headers, '{"data": {"id": ""}}') if asked.endpoint in {PATCH, IMPORT, JOB} else html(500)
        if mood == "400" and asked.endpoint == JOB and self.moods.random() < 0.5:
            return error(400, at(self.moods.randrange(len(asked.profiles) + 2)))
        given: dict[str, Given] = {"403 html": html(403), "429": throttled(1), "500": html(500)}
        return given.get(mood) or error(int(mood))

    def _patched(self, asked: Asked) -> Given:
        self._write(asked.body["data"])
        return good(200, {"type": "profile", "id": asked.body["data"]["id"]})

    def _imported(self, asked: Asked) -> Given:
        is_new = asked.body["data"]["attributes"]["email"] not in self.people
        self._write(asked.body["data"])
        return good(201 if is_new else 200, self._profile(asked.body["data"]["attributes"]["email"]))

    def _job(self, asked: Asked) -> Given:
        job = {"type": "profile-bulk-import-job", "id": f"job-{next(self._numbers)}"}
        self.jobs[job["id"]] = {**job, "attributes": {"status": "queued", "created_at": clock.iso(clock.now())}}
        self.jobs[job["id"]]["items"] = asked.profiles
        return good(202, {**job, "attributes": self.jobs[job["id"]]["attributes"]})

    def _status(self, asked: Asked) -> Given:
        job = self.jobs[asked.path.rsplit("/", 1)[-1]]
        if items := job.pop("items", None):
            failing = [place for place in range(len(items)) if self.moods.random() < 0.2 * self.trouble]
            job["failed"] = failing
            for place, item in enumerate(items):
                if place not in failing:
                    self._write(item)
            job["attributes"] |= {"status": "complete", "failed_count": len(failing)}
        return good(200, {key: job[key] for key in ("type", "id", "attributes")})

    def _errors(self, asked: Asked) -> Given:
        failing = self.jobs[asked.path.split("/")[3]].get("failed", [])
        named = [place for place in failing if self.moods.random() > 0.5 * self.trouble]
        rows = [{"attributes": {"detail": "No.", "source": {"pointer": at(place)}}} for place in named]
        return good(200, rows)

    def _added(self, asked: Asked) -> Given:
        self.listed += [each["id"] for each in asked.body["data"]]
        return good(204)


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """From three people on an import job is used; one call at a time, so that a seed plays the same once more."""
    monkeypatch.setattr("jobs.fields.lane.SINGLES", 2)
    monkeypatch.setattr("jobs.fields.singles.AT_ONCE", 1)


def drain_once(shop: Shop, kind: Kind = Kind.FIELDS) -> None:
    shop.wait_is_over()
    with writing() as session:
        session.execute(update(Budget).values(spent=[]))
    try:
        with shop.working():
            drain.drain(shop.lane(kind).id)
    except Killed:
        with writing() as session:
            session.merge(shop.lane(kind)).lease_until = clock.now() - timedelta(seconds=1)


def time_passes(shop: Shop, klaviyo: Moody) -> None:
    """Minutes: what was under way is over, who was missing is looked up again, marked ones are due."""
    klaviyo.settle()
    with writing() as session:
        mine = ProfileLink.connection_id == shop.connection.id
        earlier = clock.now() - timedelta(seconds=1)
        marked = update(ProfileLink).where(mine, ProfileLink.unsettled_until.is_not(None))
        session.execute(marked.values(unsettled_until=earlier))
        session.execute(update(ProfileLink).where(mine).values(looked_up_at=clock.now() - timedelta(minutes=11)))


def waiting(shop: Shop) -> list[Delivery]:
    with reading() as session:
        mine = (Delivery.connection_id == shop.connection.id, Delivery.kind == Kind.FIELDS)
        return list(session.scalars(select(Delivery).where(*mine, Delivery.status == Status.WAITING)))


def last_words(shop: Shop) -> dict[int, str]:
    """Person id -> what came of their last change."""
    with reading() as session:
        mine = (Delivery.connection_id == shop.connection.id, Delivery.kind == Kind.FIELDS)
        statement = select(Delivery).where(*mine).order_by(Delivery.id)
        return {int(row.person_id or 0): f"{row.status}: {row.reason}" for row in session.scalars(statement)}


TAKEN = {"delivered: written", "skipped: unchanged", "delivered: list_missing"}
ACTIONS = st.sampled_from(["change", "change", "many", "drain", "drain", "pass", "overtaken", "overtaken", "killed"])


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    actions=st.lists(ACTIONS, min_size=6, max_size=20),
    seed=st.integers(0, 10**6),
    trouble=st.sampled_from([0.2, 0.5, 0.9]),
    behavior=st.sampled_from(SyncBehavior),
)
def test_everybody_ends_at_the_newest(
    engine_rows: Rows, actions: list[str], seed: int, trouble: float, behavior: SyncBehavior
) -> None:
    moods = random.Random(seed)
    shop = Shop(engine_rows, sync_behavior=behavior, list_id="LIST01")
    klaviyo = shop.klaviyo = Moody(shop.klaviyo.url)
    klaviyo.begin(moods, trouble)
    people = [shop.person(there=number != 1) for number in range(6)]
    before = set(klaviyo.people)
    values: dict[int, int] = {}

    def change(person: Person) -> None:
        values[person.id] = moods.randrange(1000)
        shop.fields(person, points=values[person.id])

    def some_change() -> None:
        change(moods.choice(people[:2]))

    def killed() -> None:
        klaviyo.kills = True
        drain_once(shop)
        klaviyo.kills = False

    def overtaken() -> None:
        """An event carries what is known, and something newer is written before its fields take effect."""
        shop.event(people[0])
        drain_once(shop, Kind.EVENT)
        change(people[0])
        drain_once(shop)

    def everybody() -> None:
        for person in people:
            change(person)

    acts: dict[str, Callable[[], object]] = {
        "change": some_change,
        "many": everybody,
        "drain": lambda: drain_once(shop),
        "pass": lambda: time_passes(shop, klaviyo),
        "killed": killed,
        "overtaken": overtaken,
    }
    for action in actions:
        acts[action]()
    klaviyo.trouble = 0
    for number in range(30):
        if not number % 5:
            time_passes(shop, klaviyo)
        drain_once(shop)
    shop.check_counters()
    assert waiting(shop) == []
    assert not shop.open_batches(Kind.FIELDS)
    last = last_words(shop)
    created = behavior is CREATES
    for person in people:
        if person.id not in values:
            continue
        link, email = shop.link(person), str(person.email)
        assert link.job_batch_id is None
        assert not link.rewrite
        if last[person.id] in TAKEN:
            assert klaviyo.properties[klaviyo.people[email]].get(POINTS) == values[person.id], email
    assert klaviyo.created <= (1 if created else 0)
    assert set(klaviyo.listed) <= {klaviyo.people[email] for email in klaviyo.people if email not in before}
