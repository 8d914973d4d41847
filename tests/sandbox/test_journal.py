"""The file a sandbox keeps its state in: frames, the last one of a name counts, and none is passed over."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sandbox.journal import EMPTIED, LOG, Frame, InUse, Journal


def test_last_frame_of_a_name_counts_and_logs_add_up(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "x.journal")
    assert journal.read() == []
    journal.write([Frame("a", "", "1", b"old"), Frame("a", "", "2", b"two"), Frame(LOG, "me", "", b"x")])
    journal.write([Frame("a", "", "3", b"three"), Frame("a", "", "1", b"new"), Frame(LOG, "me", "", b"y")])
    journal.write([Frame("a", "", "2", None)])
    journal.close()
    expected = [
        Frame("a", "", "1", b"new"),
        Frame("a", "", "3", b"three"),
        Frame(LOG, "me", "", b"x"),
        Frame(LOG, "me", "", b"y"),
    ]
    journal = Journal(tmp_path / "x.journal")
    assert journal.read() == expected
    journal.write([Frame(EMPTIED, "", "", None), Frame("a", "", "4", b"four")])
    assert journal.read() == [Frame("a", "", "4", b"four")]
    journal.close()


def test_mostly_dead_file_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "x.journal"
    journal = Journal(path)
    journal.write([Frame("a", "", str(number % 5), bytes(1_000_000)) for number in range(20)])
    journal.close()
    journal = Journal(path)
    read = journal.read()
    assert [frame.key for frame in read] == ["0", "1", "2", "3", "4"]
    assert path.stat().st_size < 6_000_000
    journal.write([Frame("b", "", "", b"more")])
    journal.close()
    journal = Journal(path)
    assert journal.read() == [*read, Frame("b", "", "", b"more")]
    journal.close()


def test_file_is_one_processs(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "x.journal")
    with pytest.raises(InUse):
        Journal(tmp_path / "x.journal")
    journal.close()
    Journal(tmp_path / "x.journal").close()


def test_damaged_frame_is_not_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "x.journal"
    path.write_bytes(struct.pack("<I", 1) + b"\xc1")
    journal = Journal(path)
    with pytest.raises(msgspec.DecodeError):
        journal.read()
    journal.close()


def test_failed_write_leaves_whole_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.journal"
    journal = Journal(path)
    journal.write([Frame("a", "", "1", b"one")])
    with monkeypatch.context() as patched:
        patched.setattr("sandbox.journal.os.write", _full_after(path, 5))
        with pytest.raises(OSError, match="No space"):
            journal.write([Frame("a", "", "2", b"two")])
    journal.write([Frame("a", "", "3", b"three")])
    assert [frame.key for frame in journal.read()] == ["1", "3"]
    journal.close()


def _full_after(path: Path, count: int) -> Any:
    """A write that takes so many bytes and then finds the disk full."""
    calls = iter([True, False])

    def write(_: int, data: memoryview) -> int:
        if not next(calls):
            raise OSError(28, "No space left on device")
        with path.open("ab") as file:
            return file.write(data[:count])

    return write
