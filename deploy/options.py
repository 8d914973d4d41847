"""What `make run` is told from outside, checked before anything starts: one sentence for whatever is wrong."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """The environment of `make run`. `is_demo`: no Klaviyo app is set, so it is the sandbox's."""

    port: int
    sandbox_port: int
    data_dir: Path
    workers: int
    limits: str
    has_trickle: bool
    is_demo: bool
    redis_url: str | None

    @property
    def logs(self) -> Path:
        """Where every process writes its own log."""
        return self.data_dir / "logs"


def read(environ: Mapping[str, str]) -> Options:
    """The options. Ends the process with one sentence where one is wrong, a port is taken or nothing can be written."""
    found = Options(
        port=_number(environ, "PORT", 8000, 1, 65535),
        sandbox_port=_number(environ, "SANDBOX_PORT", 8100, 1, 65535),
        data_dir=Path(_text(environ, "DATA_DIR") or "./instance").absolute(),
        workers=_number(environ, "WORKERS", 2, 1, 64),
        limits=_limits(_text(environ, "SANDBOX_LIMITS") or "documented"),
        has_trickle=_is_on(environ, "DEMO_TRICKLE"),
        is_demo=not _is_set(environ, "KLAVIYO_CLIENT_ID"),
        redis_url=_text(environ, "REDIS_URL") or None,
    )
    _make_writable(found)
    if found.is_demo and found.port == found.sandbox_port:
        sys.exit("PORT and SANDBOX_PORT are the same: choose another for one of them.")
    return found


def need_free_ports(options: Options) -> None:
    """End the process with a sentence where somebody else listens on a port that is needed."""
    _need_free(options.port, "PORT")
    if options.is_demo:
        _need_free(options.sandbox_port, "SANDBOX_PORT")


def _text(environ: Mapping[str, str], name: str) -> str:
    """The text of NAME, or of the file NAME_FILE points to, as `webapp.settings` reads them."""
    path = environ.get(f"{name}_FILE")
    if not path:
        return environ.get(name, "").strip()
    if environ.get(name):
        sys.exit(f"{name} and {name}_FILE are both set; set one of them.")
    try:
        text = Path(path).read_text().strip()
    except OSError as problem:
        sys.exit(f"{name}_FILE cannot be read: {problem.strerror}.")
    except UnicodeDecodeError:
        sys.exit(f"{name}_FILE does not hold text.")
    if not text:
        sys.exit(f"{name}_FILE names an empty file.")
    return text


def _is_set(environ: Mapping[str, str], name: str) -> bool:
    return bool(environ.get(name, "").strip() or environ.get(f"{name}_FILE"))


def _number(environ: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = _text(environ, name) or str(default)
    if not (text.isascii() and text.isdigit()) or not least <= int(text) <= most:
        sys.exit(f"{name} must be a {'port' if most > 1000 else 'whole'} number from {least} to {most}.")
    return int(text)


def _is_on(environ: Mapping[str, str], name: str) -> bool:
    text = _text(environ, name) or "1"
    if text not in {"0", "1"}:
        sys.exit(f"{name} must be 0 or 1.")
    return text == "1"


def _limits(text: str) -> str:
    try:
        is_fine = text in {"documented", "off"} or 0 < float(text) < float("inf")
    except ValueError:
        is_fine = False
    if not is_fine:
        sys.exit("SANDBOX_LIMITS must be documented, off, or a factor above 0 such as 10.")
    return text


def _make_writable(options: Options) -> None:
    try:
        options.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        options.logs.mkdir(mode=0o700, exist_ok=True)
        for directory in (options.data_dir, options.logs):
            probe = directory / f".probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
    except OSError as problem:
        sys.exit(f"DATA_DIR cannot be written to ({problem.strerror}): choose another with DATA_DIR=...")


def _need_free(port: int, name: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            sys.exit(f"Port {port} may not be opened by you: choose another with {name}=...")
        except OSError:
            sys.exit(f"Port {port} is taken: stop what uses it, or choose another with {name}=...")
