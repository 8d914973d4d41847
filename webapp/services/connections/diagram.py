"""The legal moves of a connection as a page: `python -m webapp.services.connections.diagram` writes it anew."""

from __future__ import annotations

from pathlib import Path

from webapp.models import ConnectionState
from webapp.services.connections.lifecycle import MOVES, Move

PAGE = Path(__file__).parents[3] / "docs" / "connection-states.md"
HEAD = """# The states of a connection

Made from `MOVES`, the one table of legal moves; a state changes through it or not at all, its audit entry in the same
transaction. *Paused* is no state but a flag beside it. A connection is born active, in the OAuth callback.
"""
MEANINGS: dict[Move, str] = {
    Move.RECONNECT: "the owner allows access again, with the same Klaviyo account; every setting stays",
    Move.REPLACE: "the owner takes another Klaviyo account; what waited for the old one is skipped",
    Move.LOSE_GRANT: "Klaviyo no longer accepts our access; what waits keeps waiting",
    Move.DISCONNECT: "the owner ends it; tokens are deleted, history stays",
}


def text() -> str:
    """The whole page, as Markdown with a Mermaid diagram."""
    arrows = [f"    {before} --> {after}: {move}" for (before, move), after in MOVES.items()]
    drawing = "\n".join(["stateDiagram-v2", f"    [*] --> {ConnectionState.ACTIVE}: connect", *arrows])
    rows = "\n".join(f"| `{move}` | {meaning} |" for move, meaning in MEANINGS.items())
    return f"{HEAD}\n```mermaid\n{drawing}\n```\n\n| move | means |\n| --- | --- |\n{rows}\n"


if __name__ == "__main__":
    PAGE.write_text(text())
