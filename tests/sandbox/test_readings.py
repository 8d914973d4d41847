"""Where Klaviyo's behaviour is not known for sure: each reading, as the command line orders it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.options import Options, parse
from tests.processes import REPOSITORY, python
from tests.sandbox.bodies import entry, event, event_attributes, events_job
from tests.sandbox.klaviyo_clients import Plain
from tests.sandbox_process import SandboxProcess

BULK = "/api/event-bulk-create-jobs"
ADA = {"email": "ada@example.com"}


@pytest.fixture(scope="module")
def ever_and_reject() -> Iterator[SandboxProcess]:
    options = ("--repeated-unique-id", "ever", "--unknown-profile-id", "reject")
    with SandboxProcess("--memory", "--limits", "off", *options) as started:
        yield started


@pytest.fixture(scope="module")
def create_and_late() -> Iterator[SandboxProcess]:
    options = ("--unknown-profile-id", "create", "--latency", "60")
    with SandboxProcess("--memory", "--limits", "off", *options) as started:
        yield started


def _client(sandbox: SandboxProcess, account: str) -> Plain:
    return Plain(sandbox, sandbox.grant(account)["access_token"])


def _bulk(*unique_ids: str) -> dict[str, object]:
    return events_job(entry(ADA, [event_attributes(unique_id=each) for each in unique_ids]))


def test_repeated_ever_refuses_the_whole_call(ever_and_reject: SandboxProcess) -> None:
    plain = _client(ever_and_reject, "ACCTSE")
    assert plain.post(BULK, _bulk("1", "2")).status_code == 202
    found = plain.refused("POST", BULK, _bulk("3", "2"))
    assert found.status == 400
    assert found.pointers[0].endswith("/events/data/1/attributes/unique_id")
    assert [each["unique_id"] for each in ever_and_reject.events("ACCTSE")] == ["1", "2"]
    # A single call stays idempotent, and what it recorded counts as seen.
    assert plain.post("/api/events", event(ADA, unique_id="4")).status_code == 202
    assert plain.post("/api/events", event(ADA, unique_id="4")).status_code == 202
    assert plain.refused("POST", BULK, _bulk("4")).status == 400
    assert plain.post(BULK, _bulk("3")).status_code == 202


def test_repeated_in_call_takes_what_was_there_before(sandbox: SandboxProcess, plain: Plain, account: str) -> None:
    for unique_ids in (("1", "2"), ("2", "3")):
        assert plain.post(BULK, _bulk(*unique_ids)).status_code == 202
    assert [each["unique_id"] for each in sandbox.events(account)] == ["1", "2", "3"]


def test_unknown_id_is_dropped(sandbox: SandboxProcess, plain: Plain, account: str) -> None:
    assert plain.post("/api/events", event({"id": "01NOBODY"}, unique_id="1")).status_code == 202
    body = events_job(
        entry({"id": "01NOBODY"}, [event_attributes(unique_id="1")]),
        entry(ADA, [event_attributes(unique_id="1")]),
    )
    assert plain.post(BULK, body).status_code == 202
    assert [each["email"] for each in sandbox.events(account)] == ["ada@example.com"]


def test_unknown_id_is_rejected(ever_and_reject: SandboxProcess) -> None:
    plain = _client(ever_and_reject, "ACCTNO")
    found = plain.refused("POST", "/api/events", event({"id": "01NOBODY"}, unique_id="1"))
    assert (found.status, found.pointers) == (400, ["/data/attributes/profile/data/id"])
    body = events_job(
        entry({"email": "new@example.com"}, [event_attributes(unique_id="1")]),
        entry({"id": "01NOBODY"}, [event_attributes(unique_id="1")]),
    )
    found = plain.refused("POST", BULK, body)
    assert found.pointers == ["/data/attributes/events-bulk-create/data/1/attributes/profile/data/id"]
    assert ever_and_reject.events("ACCTNO") == []
    assert "new@example.com" not in ever_and_reject.profiles("ACCTNO")


def test_unknown_id_creates(create_and_late: SandboxProcess) -> None:
    plain = _client(create_and_late, "ACCTNO")
    assert plain.post("/api/events", event({"id": "01NOBODY"}, unique_id="1")).status_code == 202
    assert plain.post(BULK, events_job(entry({"id": "01OTHER"}, [event_attributes(unique_id="1")]))).status_code == 202
    assert [each["profile_id"] for each in create_and_late.events("ACCTNO")] == ["01NOBODY", "01OTHER"]


def test_latency_is_added(create_and_late: SandboxProcess) -> None:
    plain = _client(create_and_late, "ACCTDE")
    started = time.monotonic()
    plain.get("/api/lists")
    assert time.monotonic() - started >= 0.06


def test_demo_accounts(ever_and_reject: SandboxProcess) -> None:
    found = ever_and_reject.accounts()
    names = {account: row["name"] for account, row in found.items()}
    assert names == {"ACCTSE": "Acme SE", "ACCTNO": "Acme NO", "ACCTDE": "Acme DE", "ACCTDK": "Other DK"}
    for account in names:
        people = ever_and_reject.profiles(account)
        assert len(people) >= 24
        assert ("ada@example.com" in people) is (account != "ACCTDK")
        lists = ever_and_reject.lists(account).values()
        assert len(lists) >= 25
        assert {each["opt_in_process"] for each in lists} == {"single_opt_in", "double_opt_in"}


@pytest.mark.parametrize(
    "options",
    [
        ("--limits", "fast"),
        ("--limits", "-1"),
        ("--limits", "nan"),
        ("--limits", "inf"),
        ("--refresh", "sometimes"),
        ("--reauthorize", "maybe"),
        ("--repeated-unique-id", "never"),
        ("--unknown-profile-id", "ignore"),
        ("--latency", "nan"),
        ("--latency", "inf"),
        ("--latency", "-1"),
        ("--latency", "long"),
        ("--token-seconds", "-1"),
        ("--extra-accounts", "-1"),
        ("--port", "99999"),
        ("--port", "http"),
        ("--no-such-option",),
    ],
)
def test_wrong_option_stops_the_start(options: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(list(options))
    assert stopped.value.code == 2
    assert options[0] in capsys.readouterr().err


def test_options_of_nothing_are_the_documented_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", "/somewhere")
    assert parse([]) == Options(data_dir=Path("/somewhere"))
    monkeypatch.setenv("DATA_DIR", "")
    assert parse([]).data_dir == Path("instance"), "as if it were unset"
    assert parse(["--memory", "--limits", "10", "--latency", "200"]) == Options(limit_factor=10, latency=0.2)


def test_port_that_is_taken(sandbox: SandboxProcess) -> None:
    command = python("-m", "sandbox", "--memory", "--port", str(sandbox.port))
    found = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=20, check=False)
    assert found.returncode == 1
    assert f"Port {sandbox.port} is already taken" in found.stderr
