"""The one place that opens sockets to Klaviyo's API.

A call has one deadline, in monotonic time. It is checked immediately before the first byte, so that a process that was
frozen does not send what somebody else has taken over; whatever comes after it is `unknown`, whatever it says.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import orjson
import requests
from urllib3.exceptions import HTTPError, NewConnectionError

from webapp.klaviyo.answers import Answer, Reached, parse_errors, parse_limits, parse_retry_after, short
from webapp.klaviyo.endpoints import REVISION, Endpoint
from webapp.klaviyo.watchdog import TooLate, Watch, WatchedAdapter

CONNECT_SECONDS = 3.05
MEDIA_TYPE = "application/vnd.api+json"
ANSWER_BYTES = 10 * 1024 * 1024
TOO_LATE = "The deadline passed before the call was sent."


@dataclass(frozen=True, slots=True)
class Call:
    """One call: `path` is the endpoint's with its ids filled in, `query` unencoded, `body` encoded JSON."""

    endpoint: Endpoint
    path: str
    query: Mapping[str, str] | None = None
    body: bytes | None = None


def new_session(pool: int = 10) -> requests.Session:
    """A session for one process: no environment proxies, no redirects followed by `KlaviyoClient`, connections kept.

    No cookies: they would travel from one account's answer into another's call.
    """
    session = requests.Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.mount("http://", WatchedAdapter(pool_connections=2, pool_maxsize=pool, max_retries=0))
    session.mount("https://", WatchedAdapter(pool_connections=2, pool_maxsize=pool, max_retries=0))
    session.headers.update({"User-Agent": "cevoid-klaviyo/0.1", "Accept": MEDIA_TYPE, "revision": REVISION})
    return session


class KlaviyoClient:
    """Calls one Klaviyo. Thread-safe as far as its session is: one call at a time per thread."""

    def __init__(self, session: requests.Session, base_url: str) -> None:
        self._session = session
        self._base_url = base_url.rstrip("/")

    def call(self, call: Call, access_token: str, *, seconds: float, deadline: float | None = None) -> Answer:
        """Make the call within `seconds` in all, and only if it can begin before `deadline` (monotonic seconds).

        Never raises for what happens on the way: see `Answer.reached`.
        """
        headers = {"Authorization": f"Bearer {access_token}"}
        if call.body is not None:
            headers["Content-Type"] = MEDIA_TYPE
        url = self._base_url + call.path
        query = dict(call.query) if call.query else None
        request = requests.Request(call.endpoint.method, url, params=query, data=call.body, headers=headers)
        prepared = self._session.prepare_request(request)
        started = time.monotonic()
        if seconds <= 0 or (deadline is not None and started >= deadline):
            return Answer(Reached.NOT_SENT, 0, why=TOO_LATE)
        with Watch(seconds, deadline) as watch:
            try:
                response = self._session.send(
                    prepared,
                    timeout=(min(CONNECT_SECONDS, seconds), seconds),
                    allow_redirects=False,
                    stream=True,
                )
            except TooLate:
                return Answer(Reached.NOT_SENT, _since(started), why=TOO_LATE)
            except requests.exceptions.ConnectTimeout:
                return Answer(Reached.NOT_SENT, _since(started), why="Klaviyo could not be reached in time.")
            except requests.exceptions.RequestException as problem:
                why = f"The connection failed ({type(problem).__name__})."
                return Answer(_reached(problem), _since(started), why=why)
            return _read(response, watch, started)


def _reached(problem: requests.exceptions.RequestException) -> Reached:
    """A refused or unresolved connection carried nothing; anything later may have arrived."""
    inner = problem.args[0] if problem.args else None
    reason = getattr(inner, "reason", inner)
    return Reached.NOT_SENT if isinstance(reason, NewConnectionError) else Reached.UNKNOWN


def _read(response: requests.Response, watch: Watch, started: float) -> Answer:
    try:
        body = response.raw.read(ANSWER_BYTES, decode_content=True)
    except (HTTPError, OSError) as problem:
        response.close()
        return Answer(Reached.UNKNOWN, _since(started), why=f"The answer was cut off ({type(problem).__name__}).")
    if watch.passed:
        response.close()
        return Answer(Reached.UNKNOWN, _since(started), why="Klaviyo did not answer in time.")
    if len(body) >= ANSWER_BYTES:
        response.close()
        return Answer(Reached.UNKNOWN, _since(started), why="The answer is longer than any of Klaviyo's.")
    response.raw.release_conn()
    return _parse(response, body, started)


def _parse(response: requests.Response, body: bytes, started: float) -> Answer:
    headers = response.headers
    parsed: Any = None
    is_json = False
    if "json" in headers.get("Content-Type", "") and body:
        try:
            parsed, is_json = orjson.loads(body), True
        except orjson.JSONDecodeError:
            parsed = None
    return Answer(
        Reached.ANSWERED,
        _since(started),
        status=response.status_code,
        json=parsed,
        is_json=is_json,
        is_foreign=bool(body) and not is_json,
        request_id=short(headers.get("X-Request-Id") or headers.get("x-klaviyo-req-id"), 120),
        revision=short(headers.get("X-Klaviyo-Api-Revision"), 20),
        retires=short(headers.get("X-Klaviyo-Api-Retirement-Date"), 100),
        retry_after=parse_retry_after(headers.get("Retry-After"), time.time()),
        limits=parse_limits(headers.get("RateLimit-Limit")),
        errors=parse_errors(parsed),
    )


def _since(started: float) -> int:
    return int((time.monotonic() - started) * 1000)
