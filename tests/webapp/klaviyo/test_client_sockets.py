"""The client over real sockets: what certainly was not sent, what may have been, and that no answer takes too long."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest

from tests.processes import free_port
from tests.webapp.klaviyo.loopback import Loopback, Talk, answers, drip, reset, says, shut
from webapp.klaviyo import client as client_module
from webapp.klaviyo import endpoints
from webapp.klaviyo.answers import Answer, Reached
from webapp.klaviyo.client import Call, KlaviyoClient, new_session

EVENT = Call(endpoints.EVENT, "/api/events", body=b'{"data":{"attributes":{}}}')
HEAD = b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\n"


def ask(url: str, session: Any = None, **options: Any) -> Answer:
    return KlaviyoClient(session or new_session(), url).call(EVENT, "token-1", **{"seconds": 2, **options})


def test_the_whole_request_arrives_and_the_connection_is_kept() -> None:
    with Loopback(answers("202 Accepted", b"")) as server:
        session = new_session()
        assert [ask(server.url, session).status for _ in range(3)] == [202, 202, 202]
        assert server.connections == 1
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /api/events HTTP/1.1"
    assert {"Authorization: Bearer token-1", "revision: 2026-10-15", f"Content-Length: {len(body)}"} <= set(lines)
    assert body == EVENT.body


def test_a_kept_connection_outlives_the_time_of_its_calls() -> None:
    with Loopback(answers("202 Accepted", b"")) as server:
        session = new_session()
        assert ask(server.url, session, seconds=0.1).status == 202
        time.sleep(0.2)
        assert [ask(server.url, session, seconds=0.3).status for _ in range(3)] == [202, 202, 202]
        assert server.connections == 1


def test_a_forked_process_ends_its_calls_in_time() -> None:
    with Loopback(drip(HEAD + b"Content-Length: 500\r\n\r\n", b" ")) as server:
        assert ask(server.url, seconds=0.2).reached is Reached.UNKNOWN
        with ProcessPoolExecutor(1, mp_context=get_context("fork")) as forked:
            answer = forked.submit(ask, server.url, seconds=0.2).result(timeout=10)
        assert (answer.reached, answer.status) == (Reached.UNKNOWN, None)
        assert answer.duration_ms < 2000, "not only when all of it had dripped in"


def test_a_refused_connection_carried_nothing() -> None:
    assert ask(f"http://127.0.0.1:{free_port()}").reached is Reached.NOT_SENT


def test_a_name_that_nobody_knows_carried_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert ask("http://klaviyo.test").reached is Reached.NOT_SENT


@pytest.mark.parametrize(
    "talk",
    [
        reset,
        shut,
        says(b"HTTP/1.1 2", reset),
        says(HEAD + b"Content-Length: 500\r\n\r\n{", reset),
        says(HEAD + b"Content-Length: 500\r\n\r\n{", shut),
        says(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", shut),
        says(b"hello\r\n\r\n", shut),
    ],
    ids=["reset", "closed", "in the status", "in the body", "short body", "short chunk", "not HTTP"],
)
def test_a_call_that_was_read_may_have_been_done(talk: Talk) -> None:
    with Loopback(talk) as server:
        answer = ask(server.url)
    assert (answer.reached, answer.status) == (Reached.UNKNOWN, None)
    assert len(server.requests) == 1
    assert "127.0.0.1" not in answer.sentence


def test_a_reset_before_anything_was_read_may_have_been_read() -> None:
    """From here nobody can tell how far it got."""

    def unread(connection: socket.socket) -> None:
        connection.recv(1, socket.MSG_PEEK)
        reset(connection)

    with Loopback(answers(), greet=unread) as server:
        answer = ask(server.url)
    assert answer.reached is Reached.UNKNOWN
    assert server.requests == []


def test_after_a_reset_the_next_call_has_a_connection_of_its_own() -> None:
    def talk(connection: socket.socket, request: bytes) -> None:
        (reset if len(server.requests) == 1 else answers())(connection, request)

    session = new_session()
    with Loopback(talk) as server:
        assert ask(server.url, session).reached is Reached.UNKNOWN
        assert ask(server.url, session).ok
    assert server.connections == 2


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"", b""),
        (b"HTTP/1.1 200 OK\r\nX-Drip: ", b"x"),
        (HEAD + b"Content-Length: 100000\r\n\r\n", b" "),
        (HEAD + b"Connection: close\r\n\r\n", b" "),
        (HEAD + b"Connection: close\r\nContent-Length: 100000\r\n\r\n", b" "),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["nothing", "headers", "body", "body until closed", "body to be closed", "chunks", "endless 100s"],
)
def test_an_answer_that_drips_ends_at_the_deadline(head: bytes, piece: bytes) -> None:
    with Loopback(drip(head, piece)) as server:
        answer = Answer(Reached.NOT_SENT, 0)
        while answer.reached is Reached.NOT_SENT:  # on a busy machine the time may be over before the first byte
            began = time.monotonic()
            answer = ask(server.url, seconds=0.4)
            took = time.monotonic() - began
    assert (answer.reached, answer.status) == (Reached.UNKNOWN, None)
    assert 0.35 < took < 2
    assert answer.duration_ms >= 350


def test_a_slow_call_beside_a_quick_one_is_cut_off_alone() -> None:
    def talk(connection: socket.socket, request: bytes) -> None:
        slow = b"revision" in request and len(server.requests) == 1
        (drip(HEAD + b"Content-Length: 9999\r\n\r\n", b" ") if slow else answers())(connection, request)

    session, found = new_session(), {}
    with Loopback(talk) as server:

        def work(name: str) -> None:
            found[name] = ask(server.url, session, seconds=0.5)

        slow = threading.Thread(target=work, args=("slow",))
        slow.start()
        while not server.requests:
            time.sleep(0.005)
        for number in range(5):
            work(f"quick {number}")
        slow.join()
    assert found.pop("slow").reached is Reached.UNKNOWN
    assert all(answer.ok for answer in found.values())


@pytest.mark.parametrize("options", [{"deadline": 0.15}, {"seconds": 0.15}], ids=["deadline", "seconds"])
def test_nothing_is_sent_where_finding_the_way_took_too_long(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, float]
) -> None:
    """Looking up the name takes longer than the call may take; by then somebody else may hold the lane."""
    look_up = socket.getaddrinfo

    def slowly(*arguments: Any, **more: Any) -> Any:
        time.sleep(0.3)
        return look_up(*arguments, **more)

    with Loopback(answers()) as server:
        monkeypatch.setattr(socket, "getaddrinfo", slowly)
        if "deadline" in options:
            options = {"deadline": time.monotonic() + options["deadline"]}
        answer = ask(server.url, **options)
    assert answer.reached is Reached.NOT_SENT
    assert server.requests == []


def test_nothing_is_sent_over_a_kept_connection_after_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline passes between our first look at the clock and the first byte: a process that was frozen there."""
    session = new_session()
    with Loopback(answers()) as server:
        assert ask(server.url, session).ok
        send = session.send

        def thawed(*arguments: Any, **more: Any) -> Any:
            time.sleep(0.2)
            return send(*arguments, **more)

        monkeypatch.setattr(session, "send", thawed)
        answer = ask(server.url, session, deadline=time.monotonic() + 0.1)
    assert answer.reached is Reached.NOT_SENT
    assert len(server.requests) == 1


def test_proxies_and_passwords_of_the_environment_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NO_PROXY", "")
    with Loopback(answers()) as server:
        assert ask(server.url).ok
    assert b"Authorization: Bearer token-1" in server.requests[0]


def test_a_redirect_leads_nowhere() -> None:
    with (
        Loopback(answers()) as elsewhere,
        Loopback(answers("307 Temporary Redirect", b"", f"Location: {elsewhere.url}/api/events")) as server,
    ):
        assert ask(server.url).status == 307
    assert (len(server.requests), len(elsewhere.requests)) == (1, 0)


def test_cookies_do_not_travel_from_account_to_account() -> None:
    session = new_session()
    with Loopback(answers("200 OK", b"{}", "Set-Cookie: seen=1; Path=/")) as server:
        assert ask(server.url, session).ok
        assert ask(server.url, session).ok
    assert all(b"cookie" not in request.lower() for request in server.requests)


def test_an_answer_longer_than_any_of_klaviyos_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "ANSWER_BYTES", 1000)
    session = new_session()
    with Loopback(answers("200 OK", b" " * 5000)) as server:
        assert ask(server.url, session).reached is Reached.UNKNOWN
    with Loopback(answers("200 OK", b" " * 998 + b"1")) as server:
        assert ask(server.url, session).json == 1
