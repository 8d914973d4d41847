"""The audit log's words: every action that the code records has some."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from webapp.catalogue import actions
from webapp.models import TaskState
from webapp.services.connections.lifecycle import Move

ROOT = Path(__file__).parents[3]
MADE_OF = {
    "connection.{move}": {f"connection.{move}" for move in Move},
    "task.{to}": {f"task.{to}" for to in (TaskState.PAUSED, TaskState.WAITING, TaskState.CANCELLED)},
    "{column}s.chosen": {"events.chosen", "fields.chosen"},
}
NOUNS = {action.partition(".")[0] for action in actions.ACTIONS}


def recorded() -> set[str]:
    """The actions written in the sources: `action="noun.done"`, or a known noun's anywhere else."""
    found: set[str] = set()
    for path in [*ROOT.glob("webapp/services/**/*.py"), *ROOT.glob("jobs/**/*.py")]:
        text = path.read_text()
        found |= {f"{noun}.{word}" for noun, word in re.findall(r'"([a-z_]+)\.([a-z_]+)"', text) if noun in NOUNS}
        for line in re.findall(r"\baction=(.+)", text):
            found |= set(re.findall(r'(?<!f)"([a-z_]+\.[a-z_]+)"', line))
            for pattern in re.findall(r'f"([^"]+)"', line):
                found |= MADE_OF[pattern]
    return found


def test_every_recorded_action_has_its_words() -> None:
    found = recorded()
    assert len(found) > 10
    assert found - set(actions.ACTIONS) == set(), "give it a line in webapp/catalogue/actions.toml"


def test_an_action_without_words_is_still_readable() -> None:
    assert actions.in_words("task.stopped_early") == "Task stopped early"


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        (None, None, []),
        (None, {"role": "owner", "new_account": True}, ["Role: owner", "New account: yes"]),
        ({"role": "owner"}, None, ["Role was: owner"]),
        ({"a": 1, "role": "owner"}, {"a": 1, "role": "support"}, ["Role: from owner to support"]),
        ({"cause": None}, {"cause": "gone"}, ["Cause: from none to gone"]),
        ({"on": ["points", "a"]}, {"on": ["a", "b"]}, ["Turned on: b", "Turned off: Cevoid: Points"]),
        ({"lists": ["a"]}, {"lists": ["b"]}, ["Lists, added: b", "Lists, removed: a"]),
        (
            {"list_id": "A", "list_name": "Old"},
            {"list_id": "B", "list_name": "New"},
            ["Add new profiles to list: from Old to New"],
        ),
        (None, {"behavior": "create_profile"}, ["Profile sync behavior: Create profile"]),
        (None, {"counts": {"people_found": 3}}, ["Counts: People found 3"]),
    ],
)
def test_changes_are_lines(before: dict[str, object], after: dict[str, object], lines: list[str]) -> None:
    assert actions.changes(before, after) == lines
