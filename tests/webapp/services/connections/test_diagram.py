"""The diagram says what the table of legal moves says."""

from __future__ import annotations

from webapp.services.connections import diagram
from webapp.services.connections.lifecycle import Move


def test_the_page_is_what_the_moves_make_of_it() -> None:
    page = diagram.PAGE.read_text()
    assert page == diagram.text(), "run python -m webapp.services.connections.diagram"


def test_every_move_is_explained() -> None:
    assert set(diagram.MEANINGS) == set(Move)
