"""From `git clone` to `Ready:` with a warm package cache, and again a second time. Needs git, make and a package index.

It runs what a person would: `make run` in a fresh clone of what is committed here, on ports of its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.report import Figure, tell
from tests.processes import REPOSITORY, free_port

LONGEST = 300.0


def until_ready(checkout: Path) -> float:
    """Seconds until `make run` says it is ready; it is ended then."""
    ports = {"PORT": str(free_port()), "SANDBOX_PORT": str(free_port()), "DATA_DIR": str(checkout / "instance")}
    environ = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}}
    began = time.perf_counter()
    process = subprocess.Popen(
        ["make", "run"],  # noqa: S607 - whichever make a person has
        cwd=checkout,
        env={**environ, **ports},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    said = []
    try:
        for line in process.stdout:
            said.append(line)
            if line.startswith("Ready:"):
                return time.perf_counter() - began
        raise AssertionError("make run ended:\n" + "".join(said[-30:]))
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.stdout.close()
        process.wait(60)


def main() -> None:
    """Print the table and keep the figures."""
    with tempfile.TemporaryDirectory() as home:
        checkout = Path(home) / "clone"
        began = time.perf_counter()
        clone = ["git", "clone", "--quiet", str(REPOSITORY), str(checkout)]
        subprocess.run(clone, check=True, timeout=LONGEST)  # noqa: S603 - our own checkout
        cloned = time.perf_counter() - began
        first, second = cloned + until_ready(checkout), until_ready(checkout)
    figures = [
        Figure("git clone to Ready:, package cache warm", first, "s", at_most=90),
        Figure("the second make run", second, "s", at_most=5),
    ]
    tell("fresh_start", "A fresh machine", figures)


if __name__ == "__main__":
    main()
