"""Addresses as people type and see them: whole for owners, recognisable for support agents until they reveal one."""

from __future__ import annotations

import unicodedata
from typing import Any

from webapp.database import run_writing
from webapp.klaviyo.masking import ADDRESS
from webapp.services import audit


def spellings(text: str) -> list[str]:
    """A typed address as we keep it, and with its accents written the other way, which looks the same."""
    typed = text.strip().lower()
    return list(dict.fromkeys([typed, *(unicodedata.normalize(form, typed) for form in ("NFC", "NFD"))]))


def masked(email: str | None) -> str:
    """`a…@example.com`: enough to recognise, not enough to write to."""
    if not email:
        return "no address"
    name, _, domain = email.partition("@")
    return f"{name[:1]}…@{domain}"


def mask_all(value: Any) -> Any:
    """`value` (as of JSON) with every address in its texts masked."""
    if isinstance(value, str):
        return ADDRESS.sub(lambda found: found["lead"] + masked(found["address"].replace("%40", "@")), value)
    if isinstance(value, dict):
        return {mask_all(key): mask_all(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [mask_all(entry) for entry in value]
    return value


def note_reveal(workspace_id: int, subject: tuple[str, int], actor_id: int, where: str) -> None:
    """Write down who looked at whose address, and on which page. In the log before it is on the screen.

    `subject`: the person, or what the addresses stand in where nobody is known: `("person", 7)`.
    """
    run_writing(
        lambda session: audit.record(
            session,
            workspace_id=workspace_id,
            actor_id=actor_id,
            action="person.revealed",
            subject=subject,
            after={"where": where},
        )
    )
