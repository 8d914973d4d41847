"""Takes addresses and secrets out of text that we keep or show."""

from __future__ import annotations

import re

ADDRESS = re.compile(r"[^\s\"'<>@:/(),]+@[^\s\"'<>@:/(),]+")
LONG_SECRET = re.compile(r"[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_.-]{20,}|(?i:bearer)\s+\S+")


def scrub(text: str) -> str:
    """`text` without e-mail addresses, bearer tokens and JWTs."""
    return LONG_SECRET.sub("[secret]", ADDRESS.sub("[address]", text))
