"""The scope matrix: which scopes we ask for, what each row makes possible, and what the calls behind it really need."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from webapp.klaviyo import endpoints


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the matrix, in words for people."""

    scopes: tuple[str, ...]
    required_for: str
    why: str


@dataclass(frozen=True, slots=True)
class Feature:
    """What a set of scopes makes possible. It works where every scope in `needs` is granted."""

    key: str
    title: str
    needs: tuple[str, ...]


MATRIX = (
    Row(("accounts:read",), "Everything", "To see which Klaviyo account was connected"),
    Row(
        ("metrics:read", "metrics:write", "events:read", "events:write"),
        "Starting Klaviyo emails from UGC and program activity",
        "To send events, such as a post uploaded or a profile joining the program",
    ),
    Row(
        ("profiles:read", "profiles:write"),
        "Sharing profile data with the matching Klaviyo profile",
        "To keep the platform's fields on Klaviyo profiles current",
    ),
    Row(
        ("lists:read", "lists:write"),
        "Newsletter signups; sharing profile data",
        "To put profiles on the lists you chose",
    ),
    Row(
        ("subscriptions:write",),
        "Newsletter signups in the program's opt-in form; the newsletter-signup loyalty activity",
        "To pass on marketing consent collected in a widget",
    ),
)
ASKED = tuple(scope for row in MATRIX for scope in row.scopes)
FEATURES = (
    Feature("events", "Events", ("events:write", "profiles:read")),
    Feature("profile_data", "Profile data", ("profiles:read", "profiles:write")),
    Feature("new_profiles_list", "New profiles to a list", ("lists:read", "lists:write", "profiles:write")),
    Feature("newsletter", "Newsletter", ("profiles:read", "profiles:write", "lists:write", "subscriptions:write")),
    Feature("read_back", "Reading back", ("events:read", "metrics:read")),
)


def missing(granted: frozenset[str]) -> dict[str, tuple[str, ...]]:
    """Feature key -> its missing scopes, for the features that do not work."""
    lacking = {feature.key: tuple(s for s in feature.needs if s not in granted) for feature in FEATURES}
    return {key: scopes for key, scopes in lacking.items() if scopes}


def titles(keys: Collection[str]) -> str:
    """Some features by their keys, as a sentence names them."""
    return ", ".join(feature.title.lower() for feature in FEATURES if feature.key in keys)


def calls_needing(scope: str) -> tuple[str, ...]:
    """The Klaviyo calls of ours that need `scope`, by name."""
    return tuple(endpoint.name for endpoint in endpoints.ALL if scope in endpoint.scopes)


def features_needing(scope: str) -> tuple[str, ...]:
    """What does not work without `scope`, by title."""
    return tuple(feature.title for feature in FEATURES if scope in feature.needs)
