"""`make run`: everything as separate processes under one supervisor: what dies is restarted, nothing is left behind.

Valkey, the Klaviyo sandbox (without a Klaviyo app), web, sweeper, workers, the demo's trickle.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from deploy import left_overs, prepare, valkey
from deploy.options import need_free_ports, read

READ = {f"{name}_FILE" for name in ("DATA_DIR", "PORT", "SANDBOX_PORT")}  # what they say is passed on itself
ENDINGS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main() -> None:
    """Prepare, then stay until SIGTERM or Ctrl-C."""
    if sys.argv[1:]:
        sys.exit("This takes no arguments: PORT, DATA_DIR and the others are environment variables (see README.md).")
    os.umask(0o077)  # what is kept in DATA_DIR is nobody else's to read
    for number in ENDINGS:
        signal.signal(number, _leave)
    options = read(os.environ)
    with left_overs.lock(options.data_dir):
        if left_overs.end_of(options.data_dir):
            print("An earlier run was not stopped: what was left of it is ended now.", flush=True)
        need_free_ports(options)
        env = {
            **{name: text for name, text in os.environ.items() if name not in READ},
            left_overs.MARK: left_overs.mark(options.data_dir),
            "DATA_DIR": str(options.data_dir),
            "PORT": str(options.port),
            "SANDBOX_PORT": str(options.sandbox_port),
        }
        redis_url = options.redis_url
        if redis_url is None:
            redis_url = env["REDIS_URL"] = valkey.configure(options.data_dir)
        with left_overs.guarded(options.data_dir):
            with prepare.begun(env, is_demo=options.is_demo) as preparing:
                with _later():
                    from deploy import arbiter  # what takes long to load is loaded while the database is made ready
                prepare.need(preparing, options.logs / "prepare.log")
            arbiter.run(options, env, redis_url)


def _leave(*_: object) -> NoReturn:
    """A signal before the supervisor takes over: go, without a word, and take along what was begun."""
    sys.exit(0)


@contextmanager
def _later() -> Iterator[None]:
    """Signals wait meanwhile: an exit raised in one of the import system's own callbacks would be swallowed there."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDINGS)


if __name__ == "__main__":
    main()
