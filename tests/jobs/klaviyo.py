"""A Klaviyo inside the test's own process: it knows some people and answers as told, else as Klaviyo would."""

from __future__ import annotations

import itertools
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from requests import PreparedRequest
from responses import RequestsMock

from webapp.klaviyo.endpoints import ALL

Given = tuple[int, dict[str, str], str]
Answering = Callable[["Asked"], Given]
PATHS = [(e.method, re.compile(re.sub(r"\{id\}", "[^/]+", e.path) + r"\Z"), e.name) for e in ALL]
JSON = "application/vnd.api+json"


@dataclass(frozen=True, slots=True)
class Asked:
    """One call that came in."""

    endpoint: str
    path: str
    query: dict[str, str]
    body: Any
    token: str

    @property
    def events(self) -> list[Any]:
        """The attributes of a bulk call's events, each with its profile's `id` and `email`."""
        entries = self.body["data"]["attributes"]["events-bulk-create"]["data"]
        return [_event(entry["attributes"]["events"]["data"][0], entry["attributes"]["profile"]) for entry in entries]

    @property
    def event(self) -> Any:
        """The same of a single call."""
        return _event(self.body["data"], self.body["data"]["attributes"]["profile"])

    @property
    def profiles(self) -> list[Any]:
        """The items of an import or a subscription job."""
        found: list[Any] = self.body["data"]["attributes"]["profiles"]["data"]
        return found


def _event(data: Any, profile: Any) -> Any:
    person = profile["data"]
    return {**data["attributes"], "id": person.get("id"), "email": person["attributes"].get("email")}


def error(status: int, *pointers: str, detail: str = "Not valid.", meta: dict[str, Any] | None = None) -> Given:
    """A JSON:API refusal, one error for each pointer, or one without any."""
    plain = {"id": "e", "status": status, "code": "invalid", "title": "Invalid", "detail": detail, "meta": meta or {}}
    errors = [{**plain, "source": {"pointer": pointer}} for pointer in pointers or ("",)]
    return status, {"Content-Type": JSON}, json.dumps({"errors": errors})


def html(status: int) -> Given:
    """A page of whatever stands before Klaviyo."""
    return status, {"Content-Type": "text/html"}, "<title>No.</title>"


def good(status: int, data: Any = None, **rest: Any) -> Given:
    """A JSON answer, or none at all."""
    return status, {"Content-Type": JSON}, "" if data is None else json.dumps({"data": data, **rest})


def throttled(seconds: int) -> Given:
    """A 429."""
    status, headers, body = error(429, detail="Request was throttled.")
    return status, {**headers, "Retry-After": str(seconds)}, body


@dataclass
class FakeKlaviyo:
    """`script(endpoint, ...)` says the next answers: a Given, an exception, or a function of the call giving one."""

    url: str
    people: dict[str, str] = field(default_factory=dict)
    subscribed: dict[str, dict[str, Any]] = field(default_factory=dict)
    members: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    refreshed: int = 0
    grants_ended: bool = False
    _scripts: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def script(self, endpoint: str, *answers: Any) -> None:
        """The next answers of an endpoint, in their order."""
        self._scripts[endpoint].extend(answers)

    def calls(self, endpoint: str) -> list[Asked]:
        """The calls that came to an endpoint."""
        return [asked for asked in self.asked if asked.endpoint == endpoint]

    @property
    def endpoints(self) -> list[str]:
        """Which endpoints were called, in their order."""
        return [asked.endpoint for asked in self.asked]

    def put(self, email: str) -> str:
        """A profile, and its id."""
        self.people[email] = f"01PROFILE{next(self._numbers):04d}"
        return self.people[email]

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Whatever is sent to its address is answered by it, and nothing goes anywhere else."""
        with RequestsMock(assert_all_requests_are_fired=False) as mock:
            for method in ("GET", "POST", "PATCH"):
                mock.add_callback(method, re.compile(re.escape(self.url) + "/api/.*"), self._answer)
            mock.add_callback("POST", f"{self.url}/oauth/token", self._token)
            yield

    def _token(self, _request: PreparedRequest) -> Given:
        if self.grants_ended:
            return 400, {"Content-Type": "application/json"}, json.dumps({"error": "invalid_grant"})
        self.refreshed += 1
        pair = {"access_token": f"access-new-{self.refreshed}", "refresh_token": "refresh-new", "expires_in": 3600}
        return 200, {"Content-Type": "application/json"}, json.dumps(pair)

    def _answer(self, request: PreparedRequest) -> Any:
        parts = urlsplit(str(request.url))
        name = next(n for method, path, n in PATHS if method == request.method and path.match(parts.path))
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        body = json.loads(request.body) if request.body else None
        token = request.headers["Authorization"].removeprefix("Bearer ")
        asked = Asked(name, parts.path, query, body, token)
        self.asked.append(asked)
        scripted = self._scripts[name]
        found = scripted.pop(0) if scripted else self._usual
        return found(asked) if callable(found) else found

    def _usual(self, asked: Asked) -> Given:
        usual: dict[str, Answering] = {
            "GET /api/profiles": self._looked_up,
            "GET /api/lists/{id}/profiles": self._on_list,
            "PATCH /api/profiles/{id}": lambda a: good(200, {"type": "profile", "id": a.path.rsplit("/", 1)[-1]}),
            "POST /api/profile-import": self._imported,
            "POST /api/profile-bulk-import-jobs": self._job,
            "GET /api/profile-bulk-import-jobs/{id}": lambda a: good(200, self.jobs[a.path.rsplit("/", 1)[-1]]),
            "POST /api/lists/{id}/relationships/profiles": lambda _: good(204),
        }
        found = usual.get(asked.endpoint)
        return good(202) if found is None else found(asked)

    def _wanted(self, asked: Asked) -> list[str]:
        emails: list[str] = json.loads(asked.query["filter"].removeprefix("any(email,").removesuffix(")"))
        return [email for email in emails if email in self.people]

    def _looked_up(self, asked: Asked) -> Given:
        return good(200, [self._profile(email) for email in self._wanted(asked)])

    def _on_list(self, asked: Asked) -> Given:
        on_it = self.members[asked.path.split("/")[3]]
        return good(200, [self._profile(email) for email in self._wanted(asked) if email in on_it])

    def _profile(self, email: str) -> dict[str, Any]:
        marketing = self.subscribed.get(email, {"consent": "NEVER_SUBSCRIBED"})
        created = "2026-01-01T00:00:00+00:00"
        attributes = {"email": email, "created": created, "subscriptions": {"email": {"marketing": marketing}}}
        return {"type": "profile", "id": self.people[email], "attributes": attributes}

    def _imported(self, asked: Asked) -> Given:
        email = asked.body["data"]["attributes"]["email"]
        status = 200 if email in self.people else 201
        return good(status, {"type": "profile", "id": self.people.get(email) or self.put(email)})

    def _job(self, asked: Asked) -> Given:
        job = {"type": "profile-bulk-import-job", "id": f"job-{next(self._numbers)}"}
        self.jobs[job["id"]] = {**job, "attributes": {"status": "complete", "failed_count": 0}}
        for item in asked.profiles:
            email = item["attributes"].get("email")
            if email and email not in self.people:
                self.put(email)
        return good(202, {**job, "attributes": {"status": "queued"}})
