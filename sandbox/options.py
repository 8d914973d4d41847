"""What the stand-in is told on its command line."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """Every switch. Where Klaviyo's behaviour is not known for sure, the first reading is the default."""

    host: str = "127.0.0.1"
    port: int = 8100
    client_id: str = "sandbox-client"
    client_secret: str = "sandbox-secret"  # noqa: S105 - the stand-in's app is no secret
    app_name: str = "Cevoid"
    redirect_uris: tuple[str, ...] = ()
    install_url: str = "http://127.0.0.1:8000/integrations/klaviyo/install"
    token_seconds: int = 3600
    limit_factor: float | None = 1.0
    repeated_unique_id: str = "in-call"
    refresh: str = "keeps"
    reauthorize: str = "keeps"
    unknown_profile_id: str = "drop"
    latency: float = 0.0
    data_dir: Path | None = None
    seed_demo: bool = True
    extra_accounts: int = 0


def _limit_factor(text: str) -> float | None:
    """`documented` is 1, `off` is None, a number multiplies the documented limits."""
    if text == "documented":
        return 1.0
    if text == "off":
        return None
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 0 < factor < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is none of documented, off, or a factor above 0")
    return factor


def _milliseconds(text: str) -> float:
    try:
        milliseconds = float(text)
    except ValueError:
        milliseconds = -1.0
    if not 0 <= milliseconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of milliseconds from 0 on")
    return milliseconds


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 on")
    return int(text)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65_536):
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    standard = Options()
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="A stand-in for Klaviyo.")
    add = parser.add_argument
    add("--host", default=standard.host)
    add("--port", type=_port, default=standard.port)
    add("--client-id", default=standard.client_id)
    add("--client-secret", default=standard.client_secret)
    add("--app-name", default=standard.app_name)
    add(
        "--redirect-uri",
        action="append",
        default=[],
        help="allowed beside every loopback http URL; repeatable",
    )
    add("--install-url", default=standard.install_url, help="where Install leads to")
    add("--token-seconds", type=_count, default=standard.token_seconds, help="life of an access token")
    add("--limits", type=_limit_factor, default=1.0, metavar="documented|off|FACTOR")
    add("--repeated-unique-id", choices=["in-call", "ever"], default="in-call")
    add("--refresh", choices=["keeps", "rotates"], default="keeps")
    add("--reauthorize", choices=["keeps", "replaces"], default="keeps")
    add("--unknown-profile-id", choices=["drop", "reject", "create"], default="drop")
    add("--latency", type=_milliseconds, default=0.0, metavar="MS", help="milliseconds added to every call")
    add("--memory", action="store_true", help="write no state file")
    add("--data-dir", type=Path, default=Path(os.environ.get("DATA_DIR") or "instance"))
    add("--seed-demo", action=argparse.BooleanOptionalAction, default=True)
    add("--extra-accounts", type=_count, default=0, metavar="N", help="more accounts: AC0001, AC0002, ...")
    return parser


def parse(arguments: list[str]) -> Options:
    """Options from the command line; ends the process with a usage line where it is wrong."""
    found = _parser().parse_args(arguments)
    return Options(
        host=found.host,
        port=found.port,
        client_id=found.client_id,
        client_secret=found.client_secret,
        app_name=found.app_name,
        redirect_uris=tuple(found.redirect_uri),
        install_url=found.install_url,
        token_seconds=found.token_seconds,
        limit_factor=found.limits,
        repeated_unique_id=found.repeated_unique_id,
        refresh=found.refresh,
        reauthorize=found.reauthorize,
        unknown_profile_id=found.unknown_profile_id,
        latency=found.latency / 1000,
        data_dir=None if found.memory else found.data_dir,
        seed_demo=found.seed_demo,
        extra_accounts=found.extra_accounts,
    )
