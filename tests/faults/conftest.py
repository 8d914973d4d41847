"""Worlds for the fault runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.storm import World, world

SEED = int(os.environ.get("FAULT_SEED", "20261123"))


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """`make_world(backend="sqlite", ...)`: a started World, ended with the test. The seed: FAULT_SEED."""
    ends: list[Callable[[], None]] = []

    def make(**options: Any) -> World:
        made, end = world(tmp_path, SEED, **options)
        ends.append(end)
        return made

    yield make
    for end in ends:
        end()
