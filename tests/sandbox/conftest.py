"""One sandbox process for the whole folder; every test has a Klaviyo account of its own in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.sandbox.klaviyo_clients import Plain, sdk
from tests.sandbox_process import SandboxProcess

_ACCOUNTS = 500


@pytest.fixture(scope="session")
def sandbox() -> Iterator[SandboxProcess]:
    """A sandbox without limits and without a state file."""
    options = ("--memory", "--limits", "off", "--no-seed-demo", "--extra-accounts", str(_ACCOUNTS))
    with SandboxProcess(*options) as started:
        yield started


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    """Counts the accounts given away."""
    return iter(range(1, _ACCOUNTS + 1))


@pytest.fixture
def account(numbers: Iterator[int]) -> str:
    """The id of an account nobody has used: one empty single opt-in list, Newsletter, and nobody in it."""
    return f"AC{next(numbers):04d}"


@pytest.fixture
def token(sandbox: SandboxProcess, account: str) -> str:
    """An access token with every scope."""
    granted: str = sandbox.grant(account)["access_token"]
    return granted


@pytest.fixture
def klaviyo(sandbox: SandboxProcess, token: str) -> Any:
    """The official SDK with every scope."""
    return sdk(sandbox, token)


@pytest.fixture
def klaviyo_with(sandbox: SandboxProcess, account: str) -> Callable[..., Any]:
    """`klaviyo_with("lists:read")`: the official SDK with these scopes only."""

    def granted(*scopes: str) -> Any:
        return sdk(sandbox, sandbox.grant(account, *scopes)["access_token"])

    return granted


@pytest.fixture
def plain(sandbox: SandboxProcess, token: str) -> Plain:
    """Plain HTTP with every scope."""
    return Plain(sandbox, token)


@pytest.fixture
def newsletter(sandbox: SandboxProcess, account: str) -> str:
    """The id of the account's single opt-in list."""
    found: str = sandbox.lists(account)["Newsletter"]["id"]
    return found
