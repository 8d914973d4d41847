"""Takes addresses and secrets out of text that we keep or show."""

from __future__ import annotations

import re

# Each begins where a run of its characters begins: tried at every one of them, a long text would take hours.
# `%40` is an @ in a link.
ADDRESS = re.compile(r"(?<![^\s\"'<>@:/(),])[^\s\"'<>@:/(),]+(?:@|%40)[^\s\"'<>@:/(),]+")
LONG_SECRET = re.compile(
    r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_.-]{20,}|(?i:bearer)\s+\S+",
)


def scrub(text: str) -> str:
    """`text` without e-mail addresses, bearer tokens and JWTs; and without NUL, which PostgreSQL keeps in no text."""
    return LONG_SECRET.sub("[secret]", ADDRESS.sub("[address]", text.replace("\0", "")))
