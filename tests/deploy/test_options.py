"""What `make run` is told: everything has a default, and whatever is wrong is one sentence that names it."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from deploy import options
from deploy.options import read


def test_nothing_is_required(tmp_path: Path) -> None:
    found = read({"DATA_DIR": str(tmp_path / "data")})
    assert (found.port, found.sandbox_port, found.workers, found.limits) == (8000, 8100, 2, "documented")
    assert (found.is_demo, found.has_trickle, found.redis_url) == (True, True, None)


def test_what_is_kept_is_private(tmp_path: Path) -> None:
    found = read({"DATA_DIR": str(tmp_path / "data")})
    assert {stat.S_IMODE(each.stat().st_mode) for each in (found.data_dir, found.logs)} == {0o700}


def test_everything_may_be_chosen(tmp_path: Path) -> None:
    (tmp_path / "redis").write_text("redis://localhost:7777/0\n")
    chosen = {"PORT": "18000", "SANDBOX_PORT": "18100", "WORKERS": "5", "SANDBOX_LIMITS": "10", "DEMO_TRICKLE": "0"}
    more = {"DATA_DIR": str(tmp_path), "REDIS_URL_FILE": str(tmp_path / "redis"), "KLAVIYO_CLIENT_ID": "an-app"}
    found = read(chosen | more)
    assert (found.port, found.sandbox_port, found.workers, found.limits) == (18000, 18100, 5, "10")
    assert (found.is_demo, found.has_trickle, found.redis_url) == (False, False, "redis://localhost:7777/0")


def test_everything_may_come_from_a_file(tmp_path: Path) -> None:
    chosen = {"PORT": "18000", "SANDBOX_PORT": "18100", "WORKERS": "5", "SANDBOX_LIMITS": "10", "DEMO_TRICKLE": "0"}
    chosen["DATA_DIR"] = str(tmp_path / "data")
    for name, text in chosen.items():
        (tmp_path / name).write_text(f"{text}\n")
    found = read({f"{name}_FILE": str(tmp_path / name) for name in chosen})
    assert (found.port, found.sandbox_port, found.workers, found.limits) == (18000, 18100, 5, "10")
    assert (found.has_trickle, found.data_dir) == (False, tmp_path / "data")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("PORT", "abc", "PORT must be a port number from 1 to 65535."),
        ("PORT", "0", "PORT must be a port number from 1 to 65535."),
        ("SANDBOX_PORT", "70000", "SANDBOX_PORT must be a port number from 1 to 65535."),
        ("SANDBOX_PORT", "8000", "PORT and SANDBOX_PORT are the same: choose another for one of them."),
        ("WORKERS", "two", "WORKERS must be a whole number from 1 to 64."),
        ("WORKERS", "0", "WORKERS must be a whole number from 1 to 64."),
        ("WORKERS", "-1", "WORKERS must be a whole number from 1 to 64."),
        ("DEMO_TRICKLE", "maybe", "DEMO_TRICKLE must be 0 or 1."),
        ("SANDBOX_LIMITS", "never", "SANDBOX_LIMITS must be documented, off, or a factor above 0 such as 10."),
        ("SANDBOX_LIMITS", "-1", "SANDBOX_LIMITS must be documented, off, or a factor above 0 such as 10."),
        ("DATA_DIR_FILE", "/nowhere", "DATA_DIR and DATA_DIR_FILE are both set; set one of them."),
        ("WORKERS_FILE", "/dev/null", "WORKERS_FILE names an empty file."),
        ("REDIS_URL_FILE", "/dev/null", "REDIS_URL_FILE names an empty file."),
        ("REDIS_URL_FILE", "/nowhere/url", "REDIS_URL_FILE cannot be read: No such file or directory."),
    ],
)
def test_a_wrong_one_is_a_sentence_that_names_it(name: str, value: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        read({"DATA_DIR": str(tmp_path), name: value})
    assert ended.value.code == sentence


def test_a_directory_that_cannot_be_written_to_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as ended:
        read({"DATA_DIR": str(tmp_path / "file" / "below")})
    assert str(ended.value.code).startswith("DATA_DIR cannot be written to (")


def test_a_taken_port_is_named_with_its_variable(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with pytest.raises(SystemExit) as ended:
            options.need_free_ports(read({"DATA_DIR": str(tmp_path), "SANDBOX_PORT": port, "PORT": _free()}))
    assert ended.value.code == f"Port {port} is taken: stop what uses it, or choose another with SANDBOX_PORT=..."


def _free() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
