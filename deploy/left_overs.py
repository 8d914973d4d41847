"""Nothing is left behind, also where the supervisor itself is killed: whoever bears its mark is ended.

`python -m deploy.left_overs MARK` waits for its standard input to close, which happens however its starter ends.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psutil

# In the environment of every process of ours, and of theirs: the directory it works for, and the run it is part of.
MARK = "CEVOID_RUN"
GRACE_SECONDS = 10


def lock(data_dir: Path) -> IO[str]:
    """Hold DATA_DIR for as long as the file stays open. Ends the process with a sentence where another holds it."""
    held = (data_dir / "supervisor.lock").open("a")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit("Another make run works in this DATA_DIR: stop it, or choose another with DATA_DIR=...")
    return held


def mark(data_dir: Path) -> str:
    """The mark of this process's run: a guard that is late must not end what was started after it."""
    return f"{data_dir}:{os.getpid()}"


def end_of(data_dir: Path) -> int:
    """End what any earlier run in `data_dir` left. How many there were."""
    return _end(lambda found: found.rpartition(":")[0] == str(data_dir))


def _end(is_ours: Callable[[str], bool]) -> int:
    """End every process with such a mark: asked first, then killed. How many there were."""
    found = [each for each in psutil.process_iter(["environ"]) if is_ours(_mark_of(each))]
    for each in found:
        _ask(each)
    _, still_there = psutil.wait_procs(found, timeout=GRACE_SECONDS)
    for each in still_there:
        _kill(each)
    psutil.wait_procs(still_there, timeout=GRACE_SECONDS)
    return len(found)


@contextmanager
def guarded(data_dir: Path) -> Iterator[None]:
    """A process beside this one that ends everything marked once this one is through, or gone."""
    beside = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "deploy.left_overs", mark(data_dir)],
        stdin=subprocess.PIPE,
        start_new_session=True,  # a signal for the whole group, Ctrl-C or worse, is not for this one
    )
    try:
        yield
    finally:
        beside.communicate()


def _mark_of(process: psutil.Process) -> str:
    environ = process.info["environ"] or {}  # None for the processes of others
    return str(environ.get(MARK, ""))


def _ask(process: psutil.Process) -> None:
    try:
        process.terminate()
    except psutil.NoSuchProcess:
        return


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return


if __name__ == "__main__":
    sys.stdin.read()
    _end(lambda found: found == sys.argv[1])
