"""A deadline for a whole call. requests' timeouts are per read: an answer that drips, headers or body, passes them.

Connections of a watched session tell the watch of their thread which socket they use; it is shut when the time is over
(RQ owns SIGALRM), by one thread that looks after all calls of the process. Whatever comes after that is worth nothing.
Just before the first byte they ask it whether it is too late to send at all: finding and opening a connection takes
time too.
"""

from __future__ import annotations

import heapq
import itertools
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
    """`with Watch(seconds) as watch`: `watch.passed` says afterwards whether the time was over before the call was.

    `deadline`: the moment (monotonic seconds) from which on nothing may be sent any more.
    """

    def __init__(self, seconds: float, deadline: float | None = None) -> None:
        self.passed = False
        self.deadline = deadline
        self._seconds = max(seconds, 0.0)
        self._socket: socket.socket | None = None
        self.is_over = False

    def __enter__(self) -> Self:
        _thread.watch = self
        _keeper.keep(time.monotonic() + self._seconds, self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        _thread.watch = None
        with _keeper.turn:  # after this the socket may be another call's
            self.is_over, self._socket = True, None

    def sends_on(self, connection: HTTPConnection) -> None:
        """Told before the first byte, with the connection opened or still to be. Raises TooLate."""
        # The socket itself: a connection that is to be closed after its answer forgets it while that still drips.
        found: Any = connection.sock
        self._socket = found if isinstance(found, socket.socket) else None
        if self.passed or (self.deadline is not None and time.monotonic() >= self.deadline):
            raise TooLate

    def shut(self) -> None:
        """The time has passed for a call that is not over."""
        self.passed = True
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # closed already: nothing left to shut


class _Keeper:
    """The thread that shuts what is over time, begun with the first call: a thread a call would cost as much as it."""

    def __init__(self) -> None:
        self.turn = threading.Condition()
        self._line: list[tuple[float, int, Watch]] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None

    def keep(self, until: float, watch: Watch) -> None:
        """Shut it at `until` (monotonic seconds), unless it is over by then."""
        with self.turn:
            heapq.heappush(self._line, (until, next(self._numbers), watch))
            if self._thread is None or not self._thread.is_alive():  # a forked process has none
                self._thread = threading.Thread(target=self._work, name="watchdog", daemon=True)
                self._thread.start()
            elif self._line[0][2] is watch:
                self.turn.notify_all()  # in a forked process one who waits is not there any more

    def _work(self) -> None:
        with self.turn:
            while True:
                while self._line and self._line[0][2].is_over:  # most are, long before their time
                    heapq.heappop(self._line)
                left = self._line[0][0] - time.monotonic() if self._line else None
                if left is None or left > 0:
                    self.turn.wait(left)
                else:
                    heapq.heappop(self._line)[2].shut()


_keeper = _Keeper()


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
