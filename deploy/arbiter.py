"""The supervisor: starts every process, restarts what dies, ends all of them when it is told to."""

from __future__ import annotations

import logging
import tempfile
import threading
from pathlib import Path

from circus import controller, get_arbiter
from circus.sighandler import SysHandler

from deploy import processes, ready
from deploy.options import Options


class Signals(SysHandler):  # type: ignore[misc]  # circus ships no types
    """One way out for every signal that means it, however often it comes."""

    is_leaving = False

    def quit(self) -> None:
        """Stop everything; asked twice (a group's signal and make's own), circus would stumble over itself."""
        if not self.is_leaving:
            self.is_leaving = True
            super().quit()

    def handle_hup(self) -> None:
        """The terminal was closed. Circus would reload, and live on without one."""
        self.quit()


def run(options: Options, env: dict[str, str], redis_url: str) -> None:
    """Start everything, say so, and stay until SIGTERM or Ctrl-C."""
    controller.SysHandler = Signals
    _log_to(options.logs / "supervisor.log")
    # Its control sockets are files of our own: on circus's fixed ports a second installation could not start.
    with tempfile.TemporaryDirectory(prefix="cevoid-") as sockets:
        arbiter = get_arbiter(
            processes.watchers(options, env),
            controller=f"ipc://{sockets}/control",
            pubsub_endpoint=f"ipc://{sockets}/events",
            loglevel="ERROR",
            logoutput=str(options.logs / "supervisor.log"),
        )
        threading.Thread(target=ready.announce, args=(options, redis_url), daemon=True).start()
        try:
            arbiter.start()
        finally:
            arbiter.stop()


def _log_to(path: Path) -> None:
    """What the event loop has to say while everything is being stopped is for the log, not for the terminal."""
    logger = logging.getLogger("tornado")
    logger.addHandler(logging.FileHandler(path))
    logger.propagate = False
