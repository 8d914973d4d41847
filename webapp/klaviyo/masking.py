"""Takes addresses and secrets out of text that we keep or show."""

from __future__ import annotations

import re

# Each begins where a run of its characters begins: tried at every one of them, a long text would take hours. Quotes and
# slashes may stand within the name of an address; those in front of it are taken for what surrounds it (`lead`).
# `%40` is an @ in a link.
ADDRESS = re.compile(
    r"(?<![^\s\"<>@:(),])(?P<lead>['/]*+)(?P<address>[^\s\"<>@:(),]+(?:@|%40)[^\s\"'<>@:/(),]+)",
)
LONG_SECRET = re.compile(
    r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_.-]{20,}|(?i:bearer)\s+\S+",
)


def scrub(text: str) -> str:
    """`text` without e-mail addresses, bearer tokens and JWTs; and without NUL, which PostgreSQL keeps in no text."""
    return LONG_SECRET.sub("[secret]", ADDRESS.sub(r"\g<lead>[address]", text.replace("\0", "")))
