"""`make run`: everything as separate processes under one supervisor: what dies is restarted, nothing is left behind.

Valkey, the Klaviyo sandbox (without a Klaviyo app), web, sweeper, workers, the demo's trickle.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

from deploy import left_overs, prepare, valkey
from deploy.options import need_free_ports, read


def main() -> None:
    """Prepare, then stay until SIGTERM or Ctrl-C."""
    os.umask(0o077)  # what is kept in DATA_DIR is nobody else's to read
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _leave)
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
        redis_url = options.redis_url
        if redis_url is None:
            redis_url = env["REDIS_URL"] = valkey.configure(options.data_dir)
        with left_overs.guarded(options.data_dir):
            with prepare.begun(env, is_demo=options.is_demo) as preparing:
                from deploy import arbiter  # what takes long to load is loaded while the database is made ready

                prepare.need(preparing, options.logs / "prepare.log")
            arbiter.run(options, env, redis_url)


def _leave(*_: object) -> NoReturn:
    """A signal before the supervisor takes over: go, without a word, and take along what was begun."""
    sys.exit(0)


if __name__ == "__main__":
    main()
