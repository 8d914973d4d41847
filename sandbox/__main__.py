"""`python -m sandbox`: run the stand-in until it is told to stop."""

from __future__ import annotations

import asyncio
import errno
import gc
import signal
import sys

from aiohttp import web

from sandbox import demo, options
from sandbox.app import make_app
from sandbox.options import Options
from sandbox.state.world import World
from sandbox.store import Store


async def run(chosen: Options) -> int:
    """Serve until SIGTERM or SIGINT; the exit code."""
    world = World(chosen)
    store = Store(world, chosen.data_dir) if chosen.data_dir else None
    if store:
        store.load()
    demo.seed(world)
    app = make_app(world, store.save if store else _save_nothing)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.2, keepalive_timeout=75)
    await runner.setup()
    try:
        await web.TCPSite(runner, chosen.host, chosen.port, backlog=512).start()
    except OSError as error:
        await runner.cleanup()
        return _say_why(chosen, error)
    if store:
        store.start()
        await store.save()
    print(f"Klaviyo sandbox: http://{chosen.host}:{chosen.port}", flush=True)  # noqa: T201
    await _told_to_stop()
    await runner.cleanup()
    world.settle()
    if store:
        await store.stop()
    return 0


async def _save_nothing() -> None:
    """There is no state file."""


def _say_why(chosen: Options, error: OSError) -> int:
    if error.errno == errno.EADDRINUSE:
        why = f"Port {chosen.port} is already taken; choose another with --port (or SANDBOX_PORT)."
    else:
        why = f"Cannot listen on {chosen.host}:{chosen.port}: {error.strerror}."
    print(why, file=sys.stderr)  # noqa: T201
    return 1


async def _told_to_stop() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


def main() -> None:
    """Parse the command line and run."""
    # Events are plain records without cycles: looking for some among millions costs more than the work itself.
    gc.set_threshold(100_000, 20, 100)
    sys.exit(asyncio.run(run(options.parse(sys.argv[1:]))))


if __name__ == "__main__":
    main()
