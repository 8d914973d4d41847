"""Real child processes for tests: started in a group of their own, logged to a file, stopped by the pid we started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


class DidNotHappen(AssertionError):
    """Something that was waited for did not come."""


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(condition: Callable[[], object], what: str, seconds: float = 20.0, *, every: float = 0.02) -> None:
    """Wait until `condition()` is true. Raises DidNotHappen naming `what`; the time is a net, not a measure."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise DidNotHappen(f"{what}: not within {seconds:.0f} s")
        time.sleep(every)


class Child:
    """One child process. `command` begins with a module's arguments when `module`, else with a program."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], log_dir: Path) -> None:
        self.name = name
        self.command = list(command)
        self.env = dict(env)
        self.log = log_dir / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The pid of the running process."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it (again)."""
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self.command,
                env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **self.env},
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def signal(self, number: signal.Signals, *, group: bool = True) -> None:
        """Send a signal to the process, and to its children when `group`."""
        if group:
            os.killpg(self.pid, number)
        else:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, the whole group, and reap it."""
        if self.is_running:
            self.signal(signal.SIGKILL)
        self.wait()

    def stop(self, seconds: float = 15.0) -> None:
        """SIGTERM, then SIGKILL for whoever did not listen. The group's leftovers are killed too."""
        if self._process is None:
            return
        if self.is_running:
            self.signal(signal.SIGTERM, group=False)
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGKILL)
        self.wait()

    def wait(self, seconds: float = 15.0) -> int:
        """Wait for its end; its exit code. Whatever it left behind in its group is killed."""
        assert self._process is not None
        code = self._process.wait(seconds)
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return code
        return code

    def tail(self, lines: int = 30) -> str:
        """The end of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


def python(*arguments: str) -> list[str]:
    """The command of a Python child."""
    return [sys.executable, *arguments]
