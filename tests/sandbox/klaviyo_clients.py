"""Calling a stand-in as a client would: with Klaviyo's official SDK, and in plain HTTP for what that cannot send."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import requests
from klaviyo_api import KlaviyoAPI
from openapi_client.exceptions import ApiException

from tests.sandbox_process import SandboxProcess

REVISION = "2026-07-15"


def sdk(sandbox: SandboxProcess, access_token: str) -> Any:
    """The official SDK with a token, without retries."""
    return KlaviyoAPI(None, access_token=access_token, test_host=sandbox.url, max_retries=0)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error answer."""

    status: int
    errors: list[dict[str, Any]]
    headers: Mapping[str, str]

    @property
    def code(self) -> str:
        """The first error's code."""
        return str(self.errors[0]["code"])

    @property
    def detail(self) -> str:
        """The first error's sentence."""
        return str(self.errors[0]["detail"])

    @property
    def pointers(self) -> list[str]:
        """What the errors point at in the body."""
        return [error["source"].get("pointer", "") for error in self.errors]

    @property
    def parameter(self) -> str:
        """The query parameter (or header) the first error blames."""
        return str(self.errors[0]["source"].get("parameter", ""))


def refused(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Refusal:
    """What an SDK call that must fail was answered."""
    try:
        answer = call(*args, **kwargs)
    except ApiException as error:
        return Refusal(error.status or 0, json.loads(error.body or "")["errors"], error.headers or {})
    raise AssertionError(f"not refused: {answer}")


class Plain:
    """Calls over plain HTTP with a bearer token and a revision, unless told otherwise."""

    def __init__(self, sandbox: SandboxProcess, access_token: str) -> None:
        self._sandbox = sandbox
        self.headers = {
            "Authorization": f"Bearer {access_token}",
            "revision": REVISION,
            "Content-Type": "application/vnd.api+json",
            "Accept": "application/vnd.api+json",
        }

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        raw: bytes | None = None,
        headers: Mapping[str, str | None] | None = None,
        query: Mapping[str, str] | None = None,
        timeout: float = 10,
    ) -> requests.Response:
        """One call; a header given as None is left out."""
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        sent = {name: value for name, value in {**self.headers, **(headers or {})}.items() if value is not None}
        return self._sandbox.session.request(
            method, f"{self._sandbox.url}{path}", data=data, headers=sent, params=query, timeout=timeout
        )

    def get(self, path: str, query: Mapping[str, str] | None = None) -> requests.Response:
        """GET with query parameters."""
        return self.call("GET", path, query=query)

    def post(self, path: str, body: object) -> requests.Response:
        """POST a JSON body."""
        return self.call("POST", path, body)

    def refused(self, method: str, path: str, body: object = None, **rest: Any) -> Refusal:
        """What a call that must fail was answered."""
        answer = self.call(method, path, body, **rest)
        assert answer.status_code >= 400, answer.text
        assert answer.headers["Content-Type"].startswith("application/vnd.api+json")
        return Refusal(answer.status_code, answer.json()["errors"], answer.headers)
