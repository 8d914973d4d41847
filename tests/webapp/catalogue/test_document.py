"""The documentation says what the catalogue says."""

from __future__ import annotations

from webapp.catalogue import document


def test_the_page_is_what_the_catalogue_makes_of_it() -> None:
    assert document.PAGE.read_text() == document.text(), "run python -m webapp.catalogue.document"
