"""What our calls look like on the wire, and what every kind of answer is read as."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import requests
import responses
from responses import RequestsMock, matchers

from webapp.klaviyo import endpoints
from webapp.klaviyo.answers import LONGEST_WAIT, Answer, Reached
from webapp.klaviyo.client import Call, KlaviyoClient, new_session

BASE = "https://a.klaviyo.test"
EVENT = Call(endpoints.EVENT, "/api/events", body=b'{"data":{}}')
LOOK = Call(
    endpoints.PROFILES, "/api/profiles", query={"filter": 'any(email,["a+b@example.com"])', "page[size]": "100"}
)
HTML = "<!doctype html><title>Access denied</title>"


@pytest.fixture
def klaviyo() -> Any:
    """A Klaviyo that answers what it was told to, and must be asked everything it was told."""
    with RequestsMock(assert_all_requests_are_fired=True) as mock:
        yield mock


def ask(call: Call = EVENT, **options: Any) -> Answer:
    return KlaviyoClient(new_session(), BASE).call(call, "token-1", **{"seconds": 3, **options})


def errors(*errors: dict[str, Any]) -> dict[str, Any]:
    return {"errors": [{"id": "e", "status": 400, "code": "invalid", "title": "No.", **error} for error in errors]}


def test_a_call_says_who_what_and_which_revision(klaviyo: RequestsMock) -> None:
    sent = {
        "Authorization": "Bearer token-1",
        "revision": "2026-10-15",
        "Accept": "application/vnd.api+json",
        "Content-Type": "application/vnd.api+json",
        "User-Agent": "cevoid-klaviyo/0.1",
    }
    klaviyo.post(f"{BASE}/api/events", status=202, match=[matchers.header_matcher(sent)])
    answer = ask()
    assert (answer.reached, answer.status, answer.ok, answer.json) == (Reached.ANSWERED, 202, True, None)
    assert len(klaviyo.calls) == 1
    assert klaviyo.calls[0].request.body == b'{"data":{}}'


def test_a_query_is_encoded_and_a_call_without_a_body_has_no_content_type(klaviyo: RequestsMock) -> None:
    klaviyo.get(f"{BASE}/api/profiles", json={"data": []}, match=[matchers.query_param_matcher(dict(LOOK.query or {}))])
    assert ask(LOOK).json == {"data": []}
    request = klaviyo.calls[0].request
    assert str(request.url).endswith("?filter=any%28email%2C%5B%22a%2Bb%40example.com%22%5D%29&page%5Bsize%5D=100")
    assert "Content-Type" not in request.headers
    assert request.body is None


@pytest.mark.parametrize(
    ("status", "body", "json"),
    [(200, '{"data":{"id":"01"}}', {"data": {"id": "01"}}), (201, "{}", {}), (202, "", None), (204, "", None)],
)
def test_success(klaviyo: RequestsMock, status: int, body: str, json: Any) -> None:
    klaviyo.post(f"{BASE}/api/events", status=status, body=body, content_type="application/vnd.api+json")
    answer = ask()
    assert (answer.status, answer.ok, answer.json) == (status, True, json)
    assert not answer.is_foreign
    assert answer.sentence == f"Klaviyo answered {status}."


def test_a_refusal_names_its_items_and_gives_no_address_away(klaviyo: RequestsMock) -> None:
    body = errors(
        {
            "detail": "Invalid email address ada@example.com",
            "source": {
                "pointer": "/data/attributes/events-bulk-create/data/3/attributes/profile/data/attributes/email"
            },
        },
        {"detail": "Bad time.", "source": {"pointer": "/data/attributes/time"}, "meta": []},
        {"detail": "No source.", "source": {}, "links": {}},
    )
    klaviyo.post(f"{BASE}/api/events", status=400, json=body, content_type="application/vnd.api+json")
    answer = ask()
    assert (answer.status, answer.ok, answer.is_json) == (400, False, True)
    assert [error.item for error in answer.errors] == [3, None, None]
    assert answer.sentence == "Invalid email address [address] Bad time. No source."


@pytest.mark.parametrize("body", [{}, {"errors": None}, {"errors": "no"}, [], {"errors": [None, 3]}, "x", None])
def test_an_unexpected_error_body_is_no_trouble(klaviyo: RequestsMock, body: Any) -> None:
    klaviyo.post(f"{BASE}/api/events", status=422, json=body)
    answer = ask()
    assert (answer.status, answer.errors, answer.sentence) == (422, (), "Klaviyo answered 422.")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("17", 17),
        ("0", 0),
        (" 8 ", 8),
        ("68000", 68_000),
        ("99999999999", LONGEST_WAIT),
        ("9" * 40, None),
        ("1.5", None),
        ("-3", None),
        ("²", None),
        ("soon", None),
        ("", None),
        ("Tue, 31 Feb 2026 10:00:00 GMT", None),
        (format_datetime(datetime(1999, 1, 1, tzinfo=UTC), usegmt=True), 0),
        (format_datetime(datetime(9999, 1, 1, tzinfo=UTC), usegmt=True), LONGEST_WAIT),
    ],
)
def test_a_429_says_how_long_to_wait(klaviyo: RequestsMock, header: str, seconds: int | None) -> None:
    headers = {"Retry-After": header.encode().decode("latin-1") if header.isascii() else header}
    klaviyo.post(f"{BASE}/api/events", status=429, json=errors({"code": "throttled"}), headers=headers)
    answer = ask()
    assert (answer.status, answer.retry_after) == (429, seconds)
    assert answer.limits == {}


def test_a_429_may_name_a_moment(klaviyo: RequestsMock) -> None:
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    klaviyo.post(f"{BASE}/api/events", status=429, json={}, headers={"Retry-After": then})
    assert ask().retry_after in range(85, 91)


@pytest.mark.parametrize(
    ("header", "limits"),
    [
        ("75, 75;w=1, 750;w=60", {1: 75, 60: 750}),
        ("150, 10;w=1, 150;w=60, 150;w=86400", {1: 10, 60: 150, 86400: 150}),
        ("75", {}),
        ("many;w=1", {}),
        ("٣;w=1", {}),
        (f"{'9' * 30};w=1, 5;w=60", {60: 5}),
        ("", {}),
    ],
)
def test_announced_limits(klaviyo: RequestsMock, header: str, limits: dict[int, int]) -> None:
    klaviyo.post(f"{BASE}/api/events", status=202, headers={"RateLimit-Limit": header})
    assert ask().limits == limits


@pytest.mark.parametrize("status", [500, 502, 503, 504, 524])
def test_trouble_on_klaviyos_side(klaviyo: RequestsMock, status: int) -> None:
    klaviyo.post(f"{BASE}/api/events", status=status, body=HTML, content_type="text/html")
    answer = ask()
    assert (answer.reached, answer.status, answer.ok, answer.is_json) == (Reached.ANSWERED, status, False, False)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (403, HTML, "text/html"),
        (200, HTML, "text/html"),
        (202, "OK", "text/plain"),
        (200, '{"data":', "application/json"),
        (200, '{"data":[]}', "text/plain"),
    ],
)
def test_what_is_not_json_is_not_klaviyos(klaviyo: RequestsMock, status: int, body: str, kind: str) -> None:
    klaviyo.post(f"{BASE}/api/events", status=status, body=body, content_type=kind)
    answer = ask()
    assert (answer.status, answer.is_json, answer.json, answer.is_foreign) == (status, False, None, True)


def test_a_packed_answer_is_unpacked(klaviyo: RequestsMock) -> None:
    klaviyo.get(
        f"{BASE}/api/profiles",
        body=gzip.compress(b'{"data":[1]}'),
        headers={"Content-Encoding": "gzip", "X-Request-Id": "req-1", "X-Klaviyo-Api-Revision": "2026-10-15"},
        content_type="application/vnd.api+json",
    )
    answer = ask(LOOK)
    assert (answer.json, answer.request_id, answer.revision, answer.retires) == (
        {"data": [1]},
        "req-1",
        "2026-10-15",
        None,
    )


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(klaviyo: RequestsMock, status: int) -> None:
    klaviyo.post(f"{BASE}/api/events", status=status, headers={"Location": "https://elsewhere.test/"})
    assert ask().status == status
    assert len(klaviyo.calls) == 1


@pytest.mark.parametrize(
    ("problem", "reached"),
    [
        (requests.exceptions.ConnectTimeout(), Reached.NOT_SENT),
        (requests.exceptions.ReadTimeout(), Reached.UNKNOWN),
        (requests.exceptions.ConnectionError(), Reached.UNKNOWN),
        (requests.exceptions.SSLError(), Reached.UNKNOWN),
        (requests.exceptions.ChunkedEncodingError(), Reached.UNKNOWN),
    ],
)
def test_a_failure_on_the_way_is_an_answer_too(klaviyo: RequestsMock, problem: Exception, reached: Reached) -> None:
    klaviyo.post(f"{BASE}/api/events", body=problem)
    answer = ask()
    assert (answer.reached, answer.status, answer.ok) == (reached, None, False)
    assert answer.why
    assert "token-1" not in answer.sentence


@responses.activate
@pytest.mark.parametrize("options", [{"seconds": 0}, {"seconds": -1}, {"deadline": 0.0}])
def test_nothing_is_sent_after_the_deadline(options: dict[str, Any]) -> None:
    answer = ask(**options)
    assert answer.reached is Reached.NOT_SENT
    assert len(responses.calls) == 0


def test_a_trailing_slash_of_the_base_is_no_trouble(klaviyo: RequestsMock) -> None:
    klaviyo.get(f"{BASE}/api/accounts", json={"data": []})
    found = KlaviyoClient(new_session(), f"{BASE}/").call(Call(endpoints.ACCOUNTS, "/api/accounts"), "t", seconds=1)
    assert found.ok
