"""A deadline for a whole call. requests' timeouts are per read: an answer that drips, headers or body, passes them.

Connections of a watched session tell the watch of their thread which socket they use; the watch shuts it when the time
is over (RQ owns SIGALRM). Whatever comes after that is worth nothing.
"""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Any, Self

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_thread = threading.local()


class Watch:
    """`with Watch(seconds) as watch`: `watch.passed` says afterwards whether the time was over."""

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self.connection: HTTPConnection | None = None
        self._timer = threading.Timer(max(seconds, 0.0), self._shut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        _thread.watch = self
        self._timer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._timer.cancel()
        _thread.watch = None

    def _shut(self) -> None:
        self.passed = True
        found: Any = self.connection.sock if self.connection is not None else None
        if isinstance(found, socket.socket):
            try:
                found.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # closed already: nothing left to shut


def _tell(connection: HTTPConnection) -> None:
    watch = getattr(_thread, "watch", None)
    if watch is not None:
        watch.connection = connection


class _Http(HTTPConnection):
    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        _tell(self)
        super().putrequest(*args, **kwargs)


class _Https(HTTPSConnection):
    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        _tell(self)
        super().putrequest(*args, **kwargs)


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
