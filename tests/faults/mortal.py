"""A process of ours that strikes itself, once, at a named point: `python -m tests.faults.mortal fast` is a worker.

`MORTAL_POINT` names the point, `MORTAL_SIGNAL` what strikes there (KILL or STOP), `MORTAL_MARKER` the file that says it
has struck already, so that whoever is started after it lives. `MORTAL_CLOCK`: by how many seconds its clock is wrong.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from functools import wraps
from pathlib import Path
from typing import Any

from webapp import clock
from webapp.klaviyo.client import KlaviyoClient
from webapp.klaviyo.oauth import OAuthApp
from webapp.klaviyo.watchdog import Watch
from webapp.services.activities import ingest

# point -> (where, what is called there, whether it strikes after it)
POINTS: dict[str, tuple[Any, str, bool]] = {
    "before the first byte": (Watch, "sends_on", False),
    "after the answer": (KlaviyoClient, "call", True),
    "after the refresh": (OAuthApp, "refresh", True),
    "before the commit": (ingest, "record", True),
    "after the commit": (ingest, "accept", True),
}


def environ(point: str, marker: Path, strikes: str = "KILL") -> dict[str, str]:
    """What a child's environment has beside its own."""
    return {"MORTAL_POINT": point, "MORTAL_MARKER": str(marker), "MORTAL_SIGNAL": strikes}


def set_up() -> None:
    """Do as the environment says."""
    point = os.environ.get("MORTAL_POINT")
    if point:
        owner, name, after = POINTS[point]
        setattr(owner, name, _mortal(getattr(owner, name), after=after, is_call=owner is KlaviyoClient))
    seconds = float(os.environ.get("MORTAL_CLOCK", "0"))
    if seconds:
        _step(timedelta(seconds=seconds))


def _mortal(real: Callable[..., Any], *, after: bool, is_call: bool) -> Callable[..., Any]:
    @wraps(real)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        if not after:
            _strike()
        result = real(*arguments, **options)
        # Of all calls to Klaviyo those that write are what must not be lost.
        if after and (not is_call or arguments[1].endpoint.method != "GET"):
            _strike()
        return result

    return wrapped


def _strike() -> None:
    try:
        Path(os.environ["MORTAL_MARKER"]).touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.Signals[f"SIG{os.environ['MORTAL_SIGNAL']}"])


def _step(by: timedelta) -> None:
    class Wrong:
        @staticmethod
        def now(tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) + by

    clock.datetime = Wrong  # type: ignore[attr-defined,assignment]  # a clock gone wrong


if __name__ == "__main__":
    from jobs import worker

    set_up()
    worker.main(sys.argv[1])
