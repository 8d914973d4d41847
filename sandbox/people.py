"""How a payload changes a profile: what null means on each route, property patches, conflicts of identifiers."""

from __future__ import annotations

import time
from typing import Any

from sandbox.errors import duplicate_profile
from sandbox.state.account import IDENTIFIERS, Account
from sandbox.state.records import Profile

_NOT_STORED = frozenset({*IDENTIFIERS, "properties", "_kx", "meta"})


def resolve(account: Account, profile_id: str | None, attributes: dict[str, Any]) -> Profile | None:
    """The profile a payload means. Raises Refused (409) where its identifiers belong to different people."""
    found = account.find(attributes)
    if profile_id and profile_id in account.profiles:
        own = account.profiles[profile_id]
        for other in found:
            if other is not own:
                raise duplicate_profile(other.id)
        return own
    if len(found) > 1:
        raise duplicate_profile(found[1].id)
    return found[0] if found else None


def apply(
    account: Account,
    profile: Profile,
    attributes: dict[str, Any],
    meta: dict[str, Any] | None = None,
    *,
    null_clears: bool,
) -> bool:
    """Write attributes into a profile; whether anything changed. Raises nothing: identifiers were resolved before."""
    if not null_clears:
        attributes = {name: value for name, value in attributes.items() if value is not None}
    changed = account.set_identifiers(profile, attributes)
    for name, value in attributes.items():
        if name not in _NOT_STORED:
            changed = _merge(profile.attributes, name, value) or changed
    for name, value in (attributes.get("properties") or {}).items():
        if value is not None or null_clears:
            changed = _put(profile.properties, name, value) or changed
    patch = (meta or {}).get("patch_properties")
    if patch:
        changed = _patch(profile.properties, patch) or changed
    if changed:
        profile.updated = time.time()
        account.touch("profile", profile.id)
    return changed


def _put(held: dict[str, Any], name: str, value: Any) -> bool:
    if value is None:
        return held.pop(name, None) is not None
    if held.get(name) == value and type(held.get(name)) is type(value):
        return False
    held[name] = value
    return True


def _merge(held: dict[str, Any], name: str, value: Any) -> bool:
    if name == "location" and value:
        return _put(held, name, {**held.get(name, {}), **value})
    return _put(held, name, value)


def _patch(held: dict[str, Any], patch: dict[str, Any]) -> bool:
    before = dict(held)
    unset = patch.get("unset") or []
    for name in [unset] if isinstance(unset, str) else unset:
        held.pop(name, None)
    for name, value in (patch.get("append") or {}).items():
        old = held.get(name, [])
        added = value if isinstance(value, list) else [value]
        held[name] = [*(old if isinstance(old, list) else [old]), *added]
    for name, value in (patch.get("unappend") or {}).items():
        gone = value if isinstance(value, list) else [value]
        if isinstance(held.get(name), list):
            held[name] = [item for item in held[name] if item not in gone]
    return before != held
