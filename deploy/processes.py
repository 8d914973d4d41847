"""What `make run` starts: each process's command, its log, and its place in the order."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from deploy import valkey
from deploy.options import Options

PYTHON = sys.executable
PRIORITIES = {"trickle": 7, "web": 6, "worker": 5, "worker-slow": 5, "sweeper": 4, "sandbox": 2, "valkey": 1}


def watchers(options: Options, env: dict[str, str]) -> list[dict[str, Any]]:
    """All of them, as circus wants to be told."""
    found: list[tuple[str, list[str], int]] = [
        ("web", [PYTHON, *web(options.port)], 1),
        ("sweeper", [PYTHON, "-m", "jobs.sweeper"], 1),
        ("worker", [PYTHON, "-m", "jobs.worker", "fast"], options.workers),
        ("worker-slow", [PYTHON, "-m", "jobs.worker", "slow"], 1),
    ]
    if options.redis_url is None:
        found.append(("valkey", valkey.command(options.data_dir), 1))
    if options.is_demo:
        found.append(("sandbox", _sandbox(options), 1))
    if options.is_demo and options.has_trickle:
        found.append(("trickle", [PYTHON, "-m", "deploy.trickle"], 1))
    return [_watcher(name, command, number, env, options.logs) for name, command, number in found]


def web(port: int) -> list[str]:
    """The web processes on one machine: Python's arguments."""
    # Loaded once and forked: two processes that each load the app for themselves are most of a second later.
    gunicorn = ["-m", "gunicorn", "wsgi:app", "--no-control-socket", "--preload", "--worker-class", "gthread"]
    return [*gunicorn, "--workers", "2", "--threads", "4", "--bind", f"127.0.0.1:{port}"]


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
