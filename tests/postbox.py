"""The least of an SMTP server, on loopback: keeps what it is given, refuses whom it is told to."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Postbox:
    """`letters` as they came; mail to an address in `refused` is not taken."""

    port: int = 0
    letters: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)

    @property
    def subjects(self) -> list[str]:
        """The subject lines, in the order they came."""
        lines = [line for letter in self.letters for line in letter.splitlines()]
        return [line.removeprefix("Subject: ") for line in lines if line.startswith("Subject: ")]


class _Session(socketserver.BaseRequestHandler):
    box: Postbox

    def handle(self) -> None:
        connection: socket.socket = self.request
        self._stream = connection.makefile("rwb")
        self._say("220 ready")
        text: list[str] | None = None
        for raw in self._stream:
            line = raw.decode().rstrip("\r\n")
            if text is not None:
                text = self._body(text, line)
            elif line.upper() == "DATA":
                text = []
                self._say("354 go on")
            elif line.upper().startswith("RCPT") and any(address in line for address in self.box.refused):
                self._say("550 nobody here")
            else:
                self._say("221 bye" if line.upper() == "QUIT" else "250 fine")

    def _body(self, text: list[str], line: str) -> list[str] | None:
        if line != ".":
            return [*text, line]
        self.box.letters.append("\n".join(text))
        self._say("250 taken")
        return None

    def _say(self, line: str) -> None:
        self._stream.write(line.encode() + b"\r\n")
        self._stream.flush()


@contextmanager
def open_postbox() -> Iterator[Postbox]:
    """A postbox that listens."""
    box = Postbox()
    handler = type("Session", (_Session,), {"box": box})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        box.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield box
        server.shutdown()
