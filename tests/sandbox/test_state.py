"""The state file: what was answered outlives a kill; what was accepted and not done yet is done after it."""

from __future__ import annotations

import signal
import struct
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.processes import REPOSITORY, free_port, python, wait_for
from tests.sandbox.authorizing import App
from tests.sandbox.bodies import entry, event, event_attributes, events_job, import_job, members, profile
from tests.sandbox.bodies import subscription_job as job
from tests.sandbox.klaviyo_clients import Plain
from tests.sandbox_process import SandboxProcess

OPTIONS = ("--limits", "off", "--no-seed-demo", "--extra-accounts", "9")
BULK = "/api/event-bulk-create-jobs"
SUBSCRIBE = "/api/profile-subscription-bulk-create-jobs"


@pytest.fixture(scope="module")
def kept() -> Iterator[SandboxProcess]:
    """A sandbox with a state file; every test uses an account of its own."""
    with SandboxProcess(*OPTIONS) as started:
        yield started


def _client(sandbox: SandboxProcess, account: str) -> Plain:
    return Plain(sandbox, sandbox.grant(account)["access_token"])


def _kill(sandbox: SandboxProcess) -> None:
    sandbox.child.kill()
    sandbox.start()


def _everything(sandbox: SandboxProcess, account: str) -> dict[str, Any]:
    return {
        "overview": sandbox.accounts()[account],
        "events": sandbox.events(account),
        "profiles": list(sandbox.profiles(account).values()),
        "lists": list(sandbox.lists(account).values()),
        "subscriptions": sandbox.subscriptions(account),
    }


def test_all_of_it_is_there_after_a_kill(kept: SandboxProcess) -> None:
    plain = _client(kept, "AC0001")
    ids = kept.put_profiles("AC0001", *(f"p{number}@example.com" for number in range(20)))
    first, second = list(ids.values())[:2]
    made = plain.post("/api/lists", {"data": {"type": "list", "attributes": {"name": "Second"}}}).json()["data"]["id"]
    for email in ids:
        kept.set_subscription("AC0001", email, "SUBSCRIBED")
    kept.set_subscription("AC0001", "p3@example.com", "UNSUBSCRIBED", reason="SPAM_COMPLAINT")
    plain.post(f"/api/lists/{made}/relationships/profiles", members(second, first))
    plain.call("PATCH", f"/api/profiles/{first}", profile({"properties": {"a": [1, {"b": None}]}}, profile_id=first))
    said = [event_attributes(f"Metric {n % 3}", unique_id=f"u{n}", properties={"n": n, "å": "ö"}) for n in range(50)]
    plain.post(BULK, events_job(*(entry({"id": each}, said) for each in list(ids.values())[:10])))
    plain.post("/api/events", event({"email": "new@example.com"}, "Bought", unique_id="x", value=2.5, backfill=True))
    imported = plain.post("/api/profile-bulk-import-jobs", import_job([{"email": "i@example.com"}])).json()["data"]
    path = f"/api/profile-bulk-import-jobs/{imported['id']}"
    wait_for(lambda: plain.get(path).json()["data"]["attributes"]["status"] == "complete", "the import", 5)
    answers = [plain.get(each).json() for each in (path, "/api/metrics", "/api/lists", "/api/events")]
    before = _everything(kept, "AC0001")
    assert before["overview"]["events"] == 501
    _kill(kept)
    assert _everything(kept, "AC0001") == before
    # The access token is good, and what Klaviyo's own calls answer is the same too.
    assert [plain.get(each).json() for each in (path, "/api/metrics", "/api/lists", "/api/events")] == answers
    # What was seen is remembered.
    plain.post("/api/events", event({"email": "new@example.com"}, "Bought", unique_id="x"))
    assert kept.accounts()["AC0001"]["events"] == 501
    plain.post("/api/events", event({"email": "new@example.com"}, "Bought", unique_id="y"))
    assert kept.events("AC0001")[-1]["id"] not in {row["id"] for row in before["events"]}


@pytest.mark.parametrize("again", [_kill, SandboxProcess.restart])
def test_grants_outlive_a_restart_and_so_does_their_end(
    kept: SandboxProcess, again: Callable[[SandboxProcess], None]
) -> None:
    app = App(kept)
    first, other = app.connect("AC0009"), App(kept).connect("AC0008")
    again(kept)
    assert app.works(first["access_token"])
    fresh = app.refresh(first["refresh_token"]).json()
    assert app.works(fresh["access_token"])
    again(kept)
    assert app.works(fresh["access_token"]), "an access token is good wherever it was refreshed"
    assert app.revoke(first["refresh_token"]).ok
    kept.uninstall("AC0008")
    again(kept)
    assert not app.works(fresh["access_token"])
    for ended in (first, other):
        refused = app.refresh(ended["refresh_token"])
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")


def test_answered_and_killed_at_once(kept: SandboxProcess) -> None:
    plain = _client(kept, "AC0002")
    for number in range(3):
        body = events_job(entry({"email": "ada@example.com"}, [event_attributes(unique_id=str(number))]))
        assert plain.post(BULK, body).status_code == 202
        _kill(kept)
    assert [row["unique_id"] for row in kept.events("AC0002")] == ["0", "1", "2"]


def test_accepted_and_not_done_yet_is_done_after_a_kill(kept: SandboxProcess) -> None:
    plain = _client(kept, "AC0003")
    kept.fault("slow-jobs", account="AC0003", seconds=60)
    body = event({"email": "ada@example.com", "properties": {"a": 1}}, unique_id="1")
    assert plain.post("/api/events", body).status_code == 202
    assert plain.post(SUBSCRIBE, job([{"email": "bea@example.com"}])).status_code == 202
    started = plain.post("/api/profile-bulk-import-jobs", import_job([{"email": "cleo@example.com"}])).json()["data"]
    unsubscribe = "/api/profile-subscription-bulk-delete-jobs"
    assert plain.post(unsubscribe, job([{"email": "dag@example.com"}], consent="UNSUBSCRIBED")).status_code == 202
    assert kept.profiles("AC0003") == {}
    _kill(kept)
    assert kept.profiles("AC0003")["ada@example.com"]["properties"] == {"a": 1}
    assert [row["unique_id"] for row in kept.events("AC0003")] == ["1"]
    states = {email: row["state"] for email, row in kept.subscriptions("AC0003").items()}
    assert states["bea@example.com"] == "SUBSCRIBED"
    assert states["dag@example.com"] == "UNSUBSCRIBED"
    status = plain.get(f"/api/profile-bulk-import-jobs/{started['id']}").json()["data"]["attributes"]["status"]
    assert (status, "cleo@example.com" in states) == ("complete", True)
    _kill(kept)
    assert len(kept.events("AC0003")) == 1


def test_double_opt_in_waits_across_a_kill(kept: SandboxProcess) -> None:
    plain = _client(kept, "AC0004")
    attributes = {"name": "Double", "opt_in_process": "double_opt_in"}
    made = plain.post("/api/lists", {"data": {"type": "list", "attributes": attributes}}).json()["data"]["id"]
    plain.post(SUBSCRIBE, job([{"email": "ada@example.com"}], list_id=made))
    wait_for(lambda: kept.subscriptions("AC0004"), "the subscription to wait", 5)
    _kill(kept)
    assert kept.confirm("AC0004") == ["ada@example.com"]
    _kill(kept)
    assert kept.subscriptions("AC0004")["ada@example.com"]["lists"] == [made]
    # A second subscribe job within half an hour is still dropped.
    kept.set_subscription("AC0004", "bea@example.com", "SUBSCRIBED")
    plain.post(SUBSCRIBE, job([{"email": "ada@example.com"}, {"email": "cleo@example.com"}], list_id=made))
    wait_for(lambda: kept.subscriptions("AC0004").get("cleo@example.com"), "the other to wait", 5)
    assert kept.confirm("AC0004") == ["cleo@example.com"]


def test_what_was_removed_stays_removed(kept: SandboxProcess) -> None:
    app = App(kept)
    ended, held = app.connect("AC0005"), app.connect("AC0006")
    plain = _client(kept, "AC0006")
    ids = kept.put_profiles("AC0006", "ada@example.com", "bea@example.com")
    newsletter = kept.lists("AC0006")["Newsletter"]["id"]
    plain.post(f"/api/lists/{newsletter}/relationships/profiles", members(*ids.values()))
    plain.post("/api/events", event({"id": ids["ada@example.com"]}, unique_id="1"))
    kept.delete("AC0006", emails=("ada@example.com",))
    plain.call("DELETE", f"/api/lists/{newsletter}/relationships/profiles", members(ids["bea@example.com"]))
    app.revoke(ended["refresh_token"])
    before = _everything(kept, "AC0006")
    _kill(kept)
    assert _everything(kept, "AC0006") == before
    assert before["lists"][0]["members"] == []
    assert [row["profile_id"] for row in before["events"]] == [ids["ada@example.com"]]
    assert app.refresh(ended["refresh_token"]).status_code == 400
    assert app.refresh(held["refresh_token"]).ok


def test_people_keep_their_events_where_others_were_deleted(kept: SandboxProcess) -> None:
    plain = _client(kept, "AC0007")
    kept.put_profiles("AC0007", "ada@example.com", "bea@example.com")
    kept.delete("AC0007", emails=("bea@example.com",))
    plain.post("/api/events", event({"email": "cleo@example.com"}, unique_id="1"))
    _kill(kept)
    plain.post("/api/events", event({"email": "dag@example.com"}, unique_id="2"))
    _kill(kept)
    assert [row["email"] for row in kept.events("AC0007")] == ["cleo@example.com", "dag@example.com"]


def test_second_sandbox_does_not_share_the_file(kept: SandboxProcess) -> None:
    command = python("-m", "sandbox", "--port", str(free_port()), "--data-dir", str(kept.home))
    found = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=20, check=False)
    assert found.returncode == 1
    assert f"Another sandbox keeps its state in {kept.home}" in found.stderr


def test_file_cut_off_in_the_middle_of_a_frame(kept: SandboxProcess) -> None:
    plain = _client(kept, "AC0008")
    plain.post("/api/events", event({"email": "ada@example.com"}, unique_id="1"))
    kept.child.kill()
    with (kept.home / "sandbox.journal").open("ab") as file:
        file.write(struct.pack("<I", 500) + b"cut off")
    kept.start()
    plain.post("/api/events", event({"email": "ada@example.com"}, unique_id="2"))
    _kill(kept)
    assert [row["unique_id"] for row in kept.events("AC0008")] == ["1", "2"]


def test_reset_is_kept_and_a_stop_is_clean() -> None:
    with SandboxProcess("--limits", "off") as own:
        plain = _client(own, "ACCTSE")
        plain.post("/api/events", event({"email": "ada@example.com"}, unique_id="1"))
        own.reset()
        before = _everything(own, "ACCTSE")
        assert before["overview"]["events"] == 0
        own.child.signal(signal.SIGTERM)
        assert own.child.wait() == 0
        own.start()
        assert _everything(own, "ACCTSE") == before
        assert plain.get("/api/lists").status_code == 401
        own.child.kill()
        (own.home / "sandbox.journal").write_bytes(struct.pack("<I", 3) + b"\xc1\xc1\xc1")
        own.child.start()
        assert own.child.wait() == 1
        assert "cannot be read" in own.child.tail()


def test_memory_keeps_nothing() -> None:
    with SandboxProcess("--memory", "--limits", "off") as own:
        plain = _client(own, "ACCTSE")
        plain.post("/api/events", event({"email": "ada@example.com"}, unique_id="1"))
        assert {path.name for path in own.home.iterdir()} == {"sandbox.log"}
        _kill(own)
        assert own.events("ACCTSE") == []
        assert plain.get("/api/lists").status_code == 401


# the journal itself
