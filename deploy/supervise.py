"""`make run`: everything as separate processes under one supervisor: what dies is restarted, nothing is left behind.

Valkey, the Klaviyo sandbox (without a Klaviyo app), web, sweeper, workers, the demo's trickle.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from circus import controller, get_arbiter
from circus.sighandler import SysHandler

from deploy import left_overs, ready, valkey
from deploy.options import Options, need_free_ports, read
from webapp.log import mask

PYTHON = sys.executable
PRIORITIES = {"trickle": 7, "web": 6, "worker": 5, "worker-slow": 5, "sweeper": 4, "sandbox": 2, "valkey": 1}


class Signals(SysHandler):  # type: ignore[misc]  # circus ships no types
    """One way out for every signal that means it, however often it comes."""

    is_leaving = False

    def quit(self) -> None:
        """Stop everything; asked twice (a group's signal and make's own), circus would stumble over itself."""
        if not self.is_leaving:
            self.is_leaving = True
            super().quit()

    def handle_hup(self) -> None:
        """The terminal was closed. Circus would reload, and live on without one."""
        self.quit()


def main() -> None:
    """Prepare, then stay until SIGTERM or Ctrl-C."""
    os.umask(0o077)  # what is kept in DATA_DIR is nobody else's to read
    options = read(os.environ)
    with left_overs.lock(options.data_dir):
        if left_overs.end_of(options.data_dir):
            print("An earlier run was not stopped: what was left of it is ended now.", flush=True)
        need_free_ports(options)
        env = {
            **os.environ,
            left_overs.MARK: left_overs.mark(options.data_dir),
            "DATA_DIR": str(options.data_dir),
            "PORT": str(options.port),
            "SANDBOX_PORT": str(options.sandbox_port),
        }
        store, redis_url = None, options.redis_url
        if redis_url is None:
            store, redis_url = valkey.configure(options.data_dir)
            env["REDIS_URL"] = redis_url
        _prepare(options, env)
        _supervise(options, redis_url, _watchers(options, env, store))


def _supervise(options: Options, redis_url: str, watchers: list[dict[str, Any]]) -> None:
    controller.SysHandler = Signals
    _log_to(options.logs / "supervisor.log")
    guard = left_overs.guard(options.data_dir)
    # Its control sockets are files of our own: on circus's fixed ports a second installation could not start.
    with tempfile.TemporaryDirectory(prefix="cevoid-") as sockets:
        arbiter = get_arbiter(
            watchers,
            controller=f"ipc://{sockets}/control",
            pubsub_endpoint=f"ipc://{sockets}/events",
            loglevel="ERROR",
            logoutput=str(options.logs / "supervisor.log"),
        )
        threading.Thread(target=ready.announce, args=(options, redis_url), daemon=True).start()
        try:
            arbiter.start()
        finally:
            arbiter.stop()
            guard.communicate()


def _log_to(path: Path) -> None:
    """What the event loop has to say while everything is being stopped is for the log, not for the terminal."""
    logger = logging.getLogger("tornado")
    logger.addHandler(logging.FileHandler(path))
    logger.propagate = False


def _prepare(options: Options, env: dict[str, str]) -> None:
    """Migrate, and seed the demo; this also is where every setting is read for the first time."""
    words = ["demo", "seed", "--migrate"] if options.is_demo else ["db", "upgrade"]
    done = subprocess.run(  # noqa: S603 - our own command
        [PYTHON, "-m", "flask", "--app", "wsgi", *words],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(_why(done.stderr.strip() or done.stdout.strip(), options.logs / "prepare.log"))


def _why(said: str, log: Path) -> str:
    """One sentence: its own where there is one, else where the whole of it stands."""
    if "Traceback (most recent call last)" not in said:
        return said.splitlines()[-1].removeprefix("Error: ")
    log.write_text(mask(said))
    if "OperationalError" in said:
        return f"The database cannot be opened: is it running, and does DATABASE_URL name it? More stands in {log}."
    return f"The database could not be made ready. What happened stands in {log}."


def _watchers(options: Options, env: dict[str, str], store: list[str] | None) -> list[dict[str, Any]]:
    web = ["-m", "gunicorn", "wsgi:app", "--no-control-socket", "--worker-class", "gthread", "--workers", "2"]
    found: list[tuple[str, list[str], int]] = [
        ("web", [PYTHON, *web, "--threads", "4", "--bind", f"127.0.0.1:{options.port}"], 1),
        ("sweeper", [PYTHON, "-m", "jobs.sweeper"], 1),
        ("worker", [PYTHON, "-m", "jobs.worker", "fast"], options.workers),
        ("worker-slow", [PYTHON, "-m", "jobs.worker", "slow"], 1),
    ]
    if store:
        found.append(("valkey", store, 1))
    if options.is_demo:
        found.append(("sandbox", _sandbox(options), 1))
    if options.is_demo and options.has_trickle:
        found.append(("trickle", [PYTHON, "-m", "deploy.trickle"], 1))
    return [_watcher(name, command, number, env, options.logs) for name, command, number in found]


def _sandbox(options: Options) -> list[str]:
    install = f"http://127.0.0.1:{options.port}/integrations/klaviyo/install"
    words = ["--port", str(options.sandbox_port), "--data-dir", str(options.data_dir), "--limits", options.limits]
    return [PYTHON, "-m", "sandbox", *words, "--install-url", install]


def _watcher(name: str, command: list[str], number: int, env: dict[str, str], logs: Path) -> dict[str, Any]:
    return {
        "name": name,
        "cmd": command[0],
        "args": command[1:],
        "numprocesses": number,
        "env": env,
        "copy_env": False,
        "graceful_timeout": 10,
        # Started, and ended, from the highest: nobody loses Redis or Klaviyo while it finishes its call.
        "priority": PRIORITIES[name],
        "stop_children": True,
        "stdout_stream": _stream(logs, name),
        "stderr_stream": _stream(logs, name),
    }


def _stream(logs: Path, name: str) -> dict[str, Any]:
    path = str(logs / f"{name}.log")
    return {"class": "FileStream", "filename": path, "max_bytes": 5_000_000, "backup_count": 2}


if __name__ == "__main__":
    main()
