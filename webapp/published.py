"""What the demo's start prints for everybody: it opens nothing where this is no demo.

Whoever tries the demo and then sets a Klaviyo app keeps the directory, and with it the demo's people: a support agent
among them, who sees every workspace.
"""

from __future__ import annotations

from webapp.extensions import settings

PASSWORD = "demo-password"  # noqa: S105 - printed for everybody at the start of the demo
SUPPORT = "support@demo.test"
# Slug -> name, stores, owner, ingest key.
WORKSPACES = {
    "demo": ("Nordic Demo", ("se", "no", "de"), "owner@demo.test", "demo-ingest-key"),
    "other": ("Other", ("dk",), "owner@other.test", "other-ingest-key"),
}
PEOPLE = frozenset({SUPPORT, *(owner for _, _, owner, _ in WORKSPACES.values())})
INGEST_KEYS = frozenset(key for _, _, _, key in WORKSPACES.values())


def opens_nothing(secret: str, email: str | None = None) -> bool:
    """Whether `secret` is one of the demo's (as a password: of the demo's people), and this is not the demo."""
    known = secret in INGEST_KEYS if email is None else secret == PASSWORD and email in PEOPLE
    return known and not settings().may_be_demo
