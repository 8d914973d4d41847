"""The diagram says what the table of legal moves says."""

from __future__ import annotations

from webapp.services import connection_diagram
from webapp.services.connections import Move


def test_the_page_is_what_the_moves_make_of_it() -> None:
    page = connection_diagram.PAGE.read_text()
    assert page == connection_diagram.text(), "run python -m webapp.services.connection_diagram"


def test_every_move_is_explained() -> None:
    assert set(connection_diagram.MEANINGS) == set(Move)
