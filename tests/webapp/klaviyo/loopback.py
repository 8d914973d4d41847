"""A server on loopback that says exactly what a test wants it to, byte by byte, and remembers what it was asked."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

Talk = Callable[[socket.socket, bytes], None]


class Loopback:
    """`with Loopback(talk) as server`: `talk(connection, request)` answers each request; the connection stays open.

    `requests` are those that were read whole, `connections` how many were opened.
    """

    def __init__(self, talk: Talk, *, greet: Callable[[socket.socket], None] | None = None) -> None:
        self._talk = talk
        self._greet = greet
        self.requests: list[bytes] = []
        self.connections = 0
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        for held in (self._listener, *self._open):
            with suppress(OSError):  # closed already
                held.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            self._start(lambda held=connection: self._serve(held))  # type: ignore[misc]  # bound in this turn

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(5)
            try:
                if self._greet is not None:
                    self._greet(connection)
                while request := _request(connection):
                    self.requests.append(request)
                    self._talk(connection, request)
            except OSError:
                return


def _request(connection: socket.socket) -> bytes:
    """One request, head and body; nothing where the other side has gone."""
    held = b""
    while b"\r\n\r\n" not in held:
        piece = connection.recv(65536)
        if not piece:
            return b""
        held += piece
    head, _, body = held.partition(b"\r\n\r\n")
    lengths = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while lengths and len(body) < lengths[0]:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def answers(status: str = "200 OK", body: bytes = b'{"data":[]}', *headers: str) -> Talk:
    """A talk that answers like that."""

    def talk(connection: socket.socket, _request: bytes) -> None:
        lines = [f"HTTP/1.1 {status}", "Content-Type: application/vnd.api+json", f"Content-Length: {len(body)}"]
        connection.sendall("\r\n".join([*lines, *headers, "", ""]).encode() + body)

    return talk


def drip(head: bytes, piece: bytes, *, seconds: float = 4.0) -> Talk:
    """A talk that sends `head` and then a `piece` every 50 ms, each well within a timeout of its own."""

    def talk(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(head)
        if not piece:
            connection.recv(1)  # until the other side gives up
            return
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            connection.sendall(piece)
            time.sleep(0.05)

    return talk


def reset(connection: socket.socket, _request: bytes = b"") -> None:
    """A talk that resets the connection."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def shut(connection: socket.socket, _request: bytes = b"") -> None:
    """A talk that ends the connection in good order."""
    connection.shutdown(socket.SHUT_RDWR)


def says(data: bytes, then: Talk) -> Talk:
    """A talk that sends `data` and goes on as `then`."""

    def talk(connection: socket.socket, request: bytes) -> None:
        connection.sendall(data)
        then(connection, request)

    return talk
