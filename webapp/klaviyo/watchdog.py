"""A deadline for a whole call. requests' timeouts are per read: an answer that drips, headers or body, passes them.

Connections of a watched session tell the watch of their thread which socket they use; the watch shuts it when the time
is over (RQ owns SIGALRM). Whatever comes after that is worth nothing. Just before the first byte they ask it whether it
is too late to send at all: finding and opening a connection takes time too.
"""

from __future__ import annotations

import socket
import threading
import time
from types import TracebackType
from typing import Any, Self

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_thread = threading.local()


class TooLate(Exception):
    """The time was over before the first byte: nothing was sent."""


class Watch:
    """`with Watch(seconds) as watch`: `watch.passed` says afterwards whether the time was over.

    `deadline`: the moment (monotonic seconds) from which on nothing may be sent any more.
    """

    def __init__(self, seconds: float, deadline: float | None = None) -> None:
        self.passed = False
        self.deadline = deadline
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(max(seconds, 0.0), self._shut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        _thread.watch = self
        self._timer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._timer.cancel()
        _thread.watch = None

    def sends_on(self, connection: HTTPConnection) -> None:
        """Told before the first byte, with the connection opened or still to be. Raises TooLate."""
        # The socket itself: a connection that is to be closed after its answer forgets it while that still drips.
        found: Any = connection.sock
        self._socket = found if isinstance(found, socket.socket) else None
        if self.passed or (self.deadline is not None and time.monotonic() >= self.deadline):
            raise TooLate

    def _shut(self) -> None:
        self.passed = True
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # closed already: nothing left to shut


def _tell(connection: HTTPConnection) -> None:
    watch: Watch | None = getattr(_thread, "watch", None)
    if watch is not None:
        watch.sends_on(connection)


class _Http(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        _tell(self)

    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        _tell(self)
        super().putrequest(*args, **kwargs)


class _Https(_Http, HTTPSConnection):
    """The same, with TLS: what `_Http` calls above it is HTTPSConnection's here."""


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


class WatchedAdapter(HTTPAdapter):
    """An adapter whose connections can be watched."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """As requests does, with our connections."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
