"""Say that everything is up, once it is: web, sandbox, workers."""

from __future__ import annotations

import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable

import redis

from deploy.options import Options

READY_SECONDS = 60
WORKERS_SECONDS = 15


def announce(options: Options, redis_url: str) -> None:
    """Wait, then print the one line that scripts wait for, and how to sign in."""
    url = f"http://127.0.0.1:{options.port}"
    if not _wait(lambda: _answers(f"{url}/readyz"), READY_SECONDS):
        _complain(options, "web")
        return
    if options.is_demo and not _wait(
        lambda: _answers(f"http://127.0.0.1:{options.sandbox_port}/_sandbox/accounts"), READY_SECONDS
    ):
        _complain(options, "sandbox")
        return
    is_working = _wait(lambda: _workers(redis_url) > options.workers, WORKERS_SECONDS)
    print(f"Ready: {url}", flush=True)
    if options.is_demo:
        print("Sign in as owner@demo.test (or support@demo.test) with the password demo-password.", flush=True)
    if not is_working:
        # Pages and ingest work; what is accepted meanwhile is delivered as soon as the workers are there.
        print("The workers are not up yet; flask --app wsgi doctor says what is missing.", file=sys.stderr, flush=True)


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - our own loopback address
            return True
    except (urllib.error.URLError, OSError):
        return False


def _workers(redis_url: str) -> int:
    reader = redis.Redis.from_url(redis_url, socket_timeout=1, socket_connect_timeout=1, retry=None)
    try:
        return int(reader.scard("rq:workers"))
    except redis.RedisError:
        return 0
    finally:
        reader.close()


def _complain(options: Options, name: str) -> None:
    log = options.logs / f"{name}.log"
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else ""
    print(f"The {name} process does not answer. Its log ends with:\n{tail}", file=sys.stderr, flush=True)
