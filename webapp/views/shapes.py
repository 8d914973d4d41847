"""The shape beside each status word: status is never told by colour alone."""

from __future__ import annotations

from markupsafe import Markup

_DRAWN = {
    "disc": '<circle cx="5" cy="5" r="4"></circle>',
    "square": '<rect x="1" y="1" width="8" height="8"></rect>',
    "triangle": '<path d="M5 1l4 8H1z"></path>',
    "half": '<circle cx="5" cy="5" r="4" fill="none"></circle><path d="M5 1a4 4 0 0 0 0 8z"></path>',
    "bars": '<path d="M2 1h2v8H2zM6 1h2v8H6z"></path>',
    "play": '<path d="M2 1l7 4-7 4z"></path>',
    "turn": '<path d="M8 5a3 3 0 1 1-1-2" fill="none"></path>',
    "cross": '<path d="M2 2l6 6M8 2l-6 6" fill="none" stroke-width="2"></path>',
    "dash": '<path d="M1 5h8" fill="none" stroke-width="2"></path>',
    "ring": '<circle cx="5" cy="5" r="4" fill="none"></circle>',
}
SHAPES = {
    name: Markup(f'<svg viewBox="0 0 10 10" aria-hidden="true">{drawn}</svg>')  # noqa: S704 - our own words
    for name, drawn in _DRAWN.items()
}
