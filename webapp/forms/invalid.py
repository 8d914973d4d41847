"""What is wrong with a form, field by field."""

from __future__ import annotations


class Invalid(Exception):
    """`problems`: the field's name -> one sentence for the person. Never holds what was typed."""

    def __init__(self, problems: dict[str, str]) -> None:
        super().__init__(", ".join(sorted(problems)))
        self.problems = problems
