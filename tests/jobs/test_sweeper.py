"""The sweeper's loops: what goes wrong in one round does not end the next."""

from __future__ import annotations

import threading

import pytest
from flask import Flask

from jobs import housekeeping, sweeper


def test_housekeeping_goes_on_after_a_mistake(engine_app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[int] = []
    stop = threading.Event()

    def keep() -> None:
        rounds.append(1)
        if len(rounds) == 1:
            raise ValueError("a mistake of ours")
        stop.set()

    monkeypatch.setattr(housekeeping, "run", keep)
    monkeypatch.setattr(sweeper, "HOUSEKEEPING_SECONDS", 0.01)
    monkeypatch.setattr(sweeper, "EVERY_SECONDS", 0.01)
    sweeper.run(engine_app, stop)
    assert len(rounds) == 2
