"""`make run` from its first start to its last signal: a line when it is ready, everything kept, nothing left behind."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from deploy.left_overs import MARK
from tests.processes import Child, free_port, python, wait_for

pytestmark = pytest.mark.long
KEY = {"Authorization": "Bearer demo-ingest-key"}


class Run:
    """One `make run` in a directory of its own; a space in its name must not matter."""

    def __init__(self, home: Path) -> None:
        self.data_dir = home / "the data"
        self.port, self.sandbox_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        env = {"PORT": str(self.port), "SANDBOX_PORT": str(self.sandbox_port), "DATA_DIR": str(self.data_dir)}
        env |= {"DEMO_TRICKLE": "0", "WORKERS": "1"}
        self.child = Child("run", python("-m", "deploy.supervise"), env, home)

    def start(self) -> None:
        """Start it and wait for its line."""
        self.child.log.unlink(missing_ok=True)
        self.child.start()
        wait_for(lambda: f"Ready: {self.url}\n" in self.child.log.read_text(), "the line that says so", 90)

    def processes(self) -> list[psutil.Process]:
        """Everything that bears its mark."""
        everybody = psutil.process_iter(["environ"])
        marked = [each for each in everybody if str(self.data_dir) in (each.info["environ"] or {}).get(MARK, "")]
        return [each for each in marked if each.status() != psutil.STATUS_ZOMBIE]

    def wait_for_nobody(self) -> None:
        """Wait until nothing is left of it."""
        wait_for(lambda: not self.processes(), f"nobody left of {self.processes()}", 30)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    made = Run(tmp_path)
    try:
        yield made
    finally:
        made.child.stop()
        for each in made.processes():
            each.kill()


@pytest.mark.timeout(300)
def test_signals_leave_nobody_behind_and_a_second_start_keeps_everything(run: Run) -> None:
    run.start()
    assert "Sign in as owner@demo.test" in run.child.log.read_text()
    assert {each.name() for each in run.processes()} >= {"valkey-server"}
    assert requests.put(f"{run.url}/api/v1/stores/fi", json={"name": "Finland"}, headers=KEY, timeout=5).ok
    added = f"http://127.0.0.1:{run.sandbox_port}/_sandbox/accounts/ACCTSE/profiles"
    assert requests.post(added, json={"emails": ["kept@example.com"]}, timeout=5).ok
    # A group's signal reaches the supervisor, and make sends its own: twice must be as good as once.
    run.child.signal(signal.SIGTERM, group=False)
    run.child.signal(signal.SIGTERM, group=False)
    assert run.child.wait(30) == 0
    run.wait_for_nobody()
    assert "Traceback" not in run.child.log.read_text()

    run.start()
    again = requests.put(f"{run.url}/api/v1/stores/fi", json={"name": "Finland"}, headers=KEY, timeout=5)
    assert again.status_code == 200, "the store was forgotten"
    kept = f"http://127.0.0.1:{run.sandbox_port}/_sandbox/accounts/ACCTSE/profiles"
    assert "kept@example.com" in requests.get(kept, timeout=5).text
    run.child.signal(signal.SIGHUP, group=False)  # the terminal is closed
    assert run.child.wait(30) == 0
    run.wait_for_nobody()


@pytest.mark.timeout(300)
def test_a_killed_supervisor_takes_everybody_along_and_can_be_started_again(run: Run) -> None:
    run.start()
    run.child.signal(signal.SIGKILL, group=False)
    run.child.wait()
    run.wait_for_nobody()

    run.start()
    guards = [each for each in psutil.process_iter(["cmdline"]) if _guards(each, run.data_dir)]
    assert len(guards) == 1
    guards[0].kill()
    run.child.signal(signal.SIGKILL, group=False)
    run.child.wait()
    assert run.processes(), "somebody is left when the guard is killed too"

    run.start()
    assert run.child.log.read_text().startswith("An earlier run was not stopped")
    second = Child("second", run.child.command, run.child.env, run.child.log.parent)
    second.start()
    assert second.wait(30) == 1
    assert second.tail() == "Another make run works in this DATA_DIR: stop it, or choose another with DATA_DIR=..."
    assert run.processes(), "the first goes on"
    run.child.signal(signal.SIGINT, group=False)
    assert run.child.wait(30) == 0
    run.wait_for_nobody()


def _guards(process: psutil.Process, data_dir: Path) -> bool:
    command = process.info["cmdline"] or []
    return command[1:3] == ["-m", "deploy.left_overs"] and command[3].startswith(f"{data_dir}:")
