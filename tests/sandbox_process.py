"""The Klaviyo sandbox as a real process on a free loopback port, with its /_sandbox calls as methods."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, Self

import requests

from tests.processes import Child, free_port, python, wait_for

CLIENT = ("sandbox-client", "sandbox-secret")


class SandboxProcess:
    """`SandboxProcess("--memory", "--limits", "off")`; use as a context manager, or start() and stop()."""

    def __init__(self, *options: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.options = options
        self._home = tempfile.TemporaryDirectory(prefix="cevoid-sandbox-")
        self.home = Path(self._home.name)
        self.session = requests.Session()
        self.session.trust_env = False
        command = python("-m", "sandbox", "--port", str(self.port), "--data-dir", str(self.home), *options)
        self.child = Child("sandbox", command, {}, self.home)

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.child.start()
        wait_for(self._answers, "the sandbox")

    def stop(self) -> None:
        """Stop it and forget its files."""
        self.child.stop()
        self.session.close()
        self._home.cleanup()

    def restart(self) -> None:
        """Stop it as a person would and start it again over the same files."""
        self.child.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _answers(self) -> bool:
        assert self.child.is_running, f"the sandbox ended:\n{self.child.tail()}"
        try:
            return self.session.get(f"{self.url}/_sandbox/faults", timeout=2).ok
        except requests.ConnectionError:
            return False

    def call(self, method: str, path: str, body: object = None) -> Any:
        """A /_sandbox call; its JSON."""
        answer = self.session.request(method, f"{self.url}/_sandbox{path}", json=body, timeout=30)
        assert answer.ok, answer.text
        return answer.json()

    def _rows(self, account: str, what: str) -> list[dict[str, Any]]:
        answer = self.session.get(f"{self.url}/_sandbox/accounts/{account}/{what}", timeout=60)
        assert answer.ok, answer.text
        return [json.loads(line) for line in answer.content.splitlines()]

    def accounts(self) -> dict[str, dict[str, Any]]:
        """Every account's overview by id."""
        return {row["id"]: row for row in self.call("GET", "/accounts")["accounts"]}

    def events(self, account: str) -> list[dict[str, Any]]:
        """Every event of an account, in the order recorded."""
        return self._rows(account, "events")

    def profiles(self, account: str) -> dict[str | None, dict[str, Any]]:
        """Every profile of an account by address."""
        return {row["email"]: row for row in self._rows(account, "profiles")}

    def subscriptions(self, account: str) -> dict[str | None, dict[str, Any]]:
        """Every consent of an account by address."""
        return {row["email"]: row for row in self._rows(account, "subscriptions")}

    def lists(self, account: str) -> dict[str, dict[str, Any]]:
        """Every list of an account by name."""
        return {row["name"]: row for row in self._rows(account, "lists")}

    def put_profiles(self, account: str, *emails: str) -> dict[str, str]:
        """Put people there; their profile ids by address."""
        found: dict[str, str] = self.call("POST", f"/accounts/{account}/profiles", {"emails": emails})["profiles"]
        return found

    def set_subscription(
        self, account: str, email: str, state: str, at: str | None = None, reason: str | None = None
    ) -> None:
        """Set a person's consent."""
        body = {"email": email, "state": state, "at": at, "reason": reason}
        self.call("POST", f"/accounts/{account}/subscriptions", body)

    def confirm(self, account: str, *emails: str) -> list[str]:
        """Confirm double opt-ins; who did. Without addresses: everybody asked."""
        found: list[str] = self.call("POST", f"/accounts/{account}/confirm", {"emails": emails})["confirmed"]
        return found

    def delete(self, account: str, *, emails: tuple[str, ...] = (), lists: tuple[str, ...] = ()) -> None:
        """Delete people and lists (by id)."""
        self.call("POST", f"/accounts/{account}/delete", {"emails": emails, "lists": lists})

    def uninstall(self, account: str) -> None:
        """The merchant removes the app."""
        self.call("POST", f"/accounts/{account}/uninstall")

    def expire(self, account: str) -> None:
        """Let every access token of an account run out."""
        self.call("POST", f"/accounts/{account}/expire")

    def grant(self, account: str, *scopes: str) -> dict[str, Any]:
        """A grant without a browser, all scopes unless named; the token endpoint's JSON."""
        found: dict[str, Any] = self.call("POST", f"/accounts/{account}/grants", {"scopes": scopes})
        return found

    def fault(self, kind: str, **order: Any) -> None:
        """Order a fault: account, endpoint, times, probability, retry_after, seconds."""
        self.call("POST", "/faults", {"kind": kind, **order})

    def clear_faults(self) -> None:
        """Take all faults back."""
        self.call("DELETE", "/faults")

    def requests(self, endpoint: str | None = None, account: str | None = None) -> int:
        """How many requests came (to an endpoint, of an account)."""
        return sum(
            row["count"]
            for row in self.call("GET", "/requests")["requests"]
            if endpoint in {None, row["endpoint"]} and account in {None, row["account"]}
        )

    def rates(self) -> dict[tuple[str, str], tuple[int, int]]:
        """(account, endpoint) -> the most requests in any 1 s, in any 60 s."""
        return {
            (row["account"], row["endpoint"]): (row["second"], row["minute"])
            for row in self.call("GET", "/rates")["rates"]
        }

    def reset(self) -> None:
        """Begin as on the first start."""
        self.call("POST", "/reset")
