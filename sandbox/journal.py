"""A file of frames, only ever added to: a frame names a record and holds its bytes, or none where it is gone.

What `write` has returned from outlives a kill of the process (not a power cut): that costs one system call.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec

_LENGTH = struct.Struct("<I")
_COMPACT_OVER = 8 * 1024 * 1024
LOG = "log"  # frames of this kind add to each other; of every other kind the last one of a name counts
EMPTIED = "emptied"  # whatever came before does not count any more


class InUse(Exception):
    """Another process has the file open."""


class Frame(msgspec.Struct, array_like=True, gc=False):
    """One change. `body` None: the record is gone."""

    kind: str
    owner: str
    key: str
    body: bytes | None


class Journal:
    """The file, opened for this process alone. Raises InUse."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise InUse from error
        self._file = self._open(path)
        self._size = os.fstat(self._file).st_size
        self._encode = msgspec.msgpack.Encoder().encode

    @staticmethod
    def _open(path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)

    def close(self) -> None:
        """Close it."""
        os.close(self._file)
        os.close(self._lock)

    def write(self, frames: list[Frame]) -> None:
        """Add frames, all or none. Raises OSError."""
        parts = []
        for frame in frames:
            body = self._encode(frame)
            parts += [_LENGTH.pack(len(body)), body]
        data = b"".join(parts)
        try:
            _write_all(self._file, data)
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(data)

    def read(self) -> list[Frame]:
        """The frames that count, records in the order they first came. Raises msgspec.DecodeError for a damaged file.

        A frame cut off by the end of the process is cut away. Where most of the file does not count any more it is
        written anew.
        """
        if not self._size:
            return []
        view = memoryview(mmap.mmap(self._file, 0, access=mmap.ACCESS_READ))
        places, whole = _counting(view)
        frames = [_decode(view[start:end]) for start, end in places]
        live = sum(end - start + _LENGTH.size for start, end in places)
        if whole - live > max(live, _COMPACT_OVER):
            self._rewrite(view, places)
        elif whole < self._size:
            os.ftruncate(self._file, whole)
            self._size = whole
        return frames

    def _rewrite(self, view: memoryview, places: list[tuple[int, int]]) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        file = self._open(fresh)
        for start, end in places:
            _write_all(file, view[start - _LENGTH.size : end])
        os.fsync(file)
        fresh.replace(self._path)
        os.close(self._file)
        self._file, self._size = file, os.fstat(file).st_size


def _write_all(file: int, data: bytes | memoryview) -> None:
    with memoryview(data) as left:
        written = 0
        while written < len(left):
            written += os.write(file, left[written:])


_decoder = msgspec.msgpack.Decoder(Frame)


def _decode(data: memoryview) -> Frame:
    return _decoder.decode(data)


def _walk(view: memoryview) -> Iterator[tuple[int, int]]:
    """Where the body of each whole frame begins and ends."""
    position = 0
    while position + _LENGTH.size <= len(view):
        start = position + _LENGTH.size
        position = start + _LENGTH.unpack_from(view, position)[0]
        if position > len(view):
            return
        yield start, position


def _counting(view: memoryview) -> tuple[list[tuple[int, int]], int]:
    """The places of the frames that count, and where the last whole frame ends."""
    records: dict[tuple[str, str, str], tuple[int, int]] = {}
    logs: list[tuple[int, int]] = []
    end = 0
    for start, end in _walk(view):
        frame = _decode(view[start:end])
        name = (frame.kind, frame.owner, frame.key)
        if frame.kind == EMPTIED:
            records.clear()
            logs.clear()
        elif frame.kind == LOG:
            logs.append((start, end))
        elif frame.body is None:
            records.pop(name, None)
        else:
            records[name] = (start, end)
    return [*records.values(), *logs], end
