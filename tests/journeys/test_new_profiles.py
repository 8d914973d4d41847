"""Create profile, with a list: who is created goes on it, by ones and by hundreds; who was there never does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from tests.faults.storm import World, world
from tests.processes import wait_for
from webapp.database import reading, writing
from webapp.models import Connection

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home: Path = tmp_path_factory.mktemp("stack")
    made, end = world(home, int(os.environ.get("FAULT_SEED", "3")), sandbox_options=("--limits", "off"))
    yield made
    end()


def choose(there: World, list_id: str | None) -> None:
    with writing() as session:
        mine = update(Connection).where(Connection.klaviyo_account_id == "ACCTNO")
        session.execute(mine.values(list_id=list_id, list_name="Chosen", list_missing_at=None))


def change(email: str, identity: str, points: int) -> dict[str, Any]:
    return {
        "id": identity,
        "type": "profile",
        "store": "no",
        "occurred_at": datetime.now(UTC).isoformat(),
        "profile": {"email": email, "first_name": "New", "fields": {"points": points}},
    }


def outcome(there: World, identity: str) -> tuple[str, str]:
    found = there.stack.activity(identity)["deliveries"][0]
    return found["status"], found["reason"]


def members(there: World, list_id: str) -> set[str]:
    rows = there.stack.sandbox.lists("ACCTNO").values()
    return set(next(row for row in rows if row["id"] == list_id)["members"])


def counted(there: World) -> int:
    with reading() as session:
        found = session.query(Connection).filter_by(klaviyo_account_id="ACCTNO").one()
        return found.profiles_created


def test_new_people_are_created_and_put_on_the_list(there: World) -> None:
    chosen = next(iter(there.stack.sandbox.lists("ACCTNO").values()))["id"]
    choose(there, chosen)
    before = members(there, chosen)
    known = there.address("ACCTNO", 1)
    there.stack.ingest(change("new-1@example.com", "n-1", 5), change(known, "n-2", 6))
    wait_for(lambda: outcome(there, "n-1") == ("delivered", "written"), "the new person")
    wait_for(lambda: outcome(there, "n-2") == ("delivered", "written"), "the known one")
    assert members(there, chosen) - before == {"new-1@example.com"}
    assert counted(there) == 1
    many = [change(f"many-{number}@example.com", f"m-{number}", number) for number in range(300)]
    there.stack.ingest(*many)
    wait_for(lambda: there.waiting() == 0, "everybody", 60)
    assert {outcome(there, f"m-{number}") for number in range(0, 300, 37)} == {("delivered", "written")}
    profiles = there.stack.sandbox.profiles("ACCTNO")
    assert [profiles[f"many-{n}@example.com"]["properties"]["Cevoid: Points"] for n in range(300)] == list(range(300))
    assert members(there, chosen) - before == {f"many-{n}@example.com" for n in range(300)} | {"new-1@example.com"}
    assert counted(there) == 301
    assert there.stack.sandbox.requests("POST /api/profile-bulk-import-jobs", "ACCTNO") >= 1
    there.check_sums()


def test_a_deleted_list_is_said_and_profiles_go_on(there: World) -> None:
    gone = list(there.stack.sandbox.lists("ACCTNO").values())[-1]["id"]
    choose(there, gone)
    there.stack.sandbox.delete("ACCTNO", lists=(gone,))
    there.stack.ingest(change("new-2@example.com", "n-3", 7))
    wait_for(lambda: outcome(there, "n-3") == ("delivered", "list_missing"), "the profile without its list")
    assert "new-2@example.com" in there.stack.sandbox.profiles("ACCTNO")
    with reading() as session:
        found = session.query(Connection).filter_by(klaviyo_account_id="ACCTNO").one()
    assert found.list_missing_at is not None


def test_a_change_reaches_every_account_the_person_is_in(there: World) -> None:
    """Posted for Sweden; in Norway's account too, which creates people: it is told, and creates nobody by it."""
    known, stranger = there.address("ACCTSE", 1), there.address("ACCTSE", 2)
    there.stack.sandbox.put_profiles("ACCTNO", known)
    before = set(there.stack.sandbox.profiles("ACCTNO"))

    def points(email: str) -> object:
        return there.stack.sandbox.profiles("ACCTNO")[email]["properties"].get("Cevoid: Points")

    there.stack.ingest(*({**change(email, f"e-{email}", 41), "store": "se"} for email in (known, stranger)))
    wait_for(lambda: points(known) == 41, "what is shared now", 30)
    there.stack.ingest({**change(known, "e-later", 42), "store": "se"})
    wait_for(lambda: points(known) == 42, "the next change", 10)
    assert set(there.stack.sandbox.profiles("ACCTNO")) == before
    there.check_sums()
