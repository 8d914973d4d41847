"""What is measured beside something else, in a process of its own: it is told what to do, and how often."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import NamedTuple

from webapp.extensions import db


class Asked(NamedTuple):
    """`asked(kind, times)`: the ms each of so many took, without those that were not what they are meant to be."""

    pipe: Connection

    def __call__(self, kind: str, times: int) -> list[float]:
        self.pipe.send((kind, times))
        answer = self.pipe.recv()
        assert isinstance(answer, list), answer
        return answer


@contextmanager
def alone(make: Callable[[], Mapping[str, Callable[[], float | None]]]) -> Iterator[Asked]:
    """A fork of this process that makes the kinds of requests it is then asked for. Inside an app's context."""
    for engine in db.engines.values():
        engine.dispose()  # no connection may be in two processes
    forks = multiprocessing.get_context("fork")
    mine, theirs = forks.Pipe()
    child = forks.Process(target=_answer, args=(theirs, make), daemon=True)
    child.start()
    theirs.close()
    try:
        yield Asked(mine)
    finally:
        mine.close()
        child.join(10)
        child.kill()


def _answer(pipe: Connection, make: Callable[[], Mapping[str, Callable[[], float | None]]]) -> None:
    kinds = make()
    while True:
        try:
            kind, times = pipe.recv()
        except EOFError:
            return
        taken = (kinds[kind]() for _ in range(times))
        pipe.send([milliseconds for milliseconds in taken if milliseconds is not None])
