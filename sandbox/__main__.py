"""`python -m sandbox`: run the stand-in until it is told to stop."""

from __future__ import annotations

import asyncio
import errno
import gc
import signal
import socket
import sys

import msgspec
from aiohttp import web

from sandbox import demo, options
from sandbox.app import make_app
from sandbox.journal import InUse
from sandbox.options import Options
from sandbox.state.world import World
from sandbox.store import Store


async def run(chosen: Options) -> int:
    """Serve until SIGTERM or SIGINT; the exit code."""
    world = World(chosen)
    store = None
    with socket.socket(socket.AF_INET6 if ":" in chosen.host else socket.AF_INET) as listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((chosen.host, chosen.port))
            if chosen.data_dir is not None:
                store = Store(world, chosen.data_dir)
                store.load()
            demo.seed(world)
            world.save()
            runner = web.AppRunner(
                make_app(world), access_log=None, shutdown_timeout=0.2, keepalive_timeout=75, read_bufsize=1 << 20
            )
            await runner.setup()
            await web.SockSite(runner, listener, backlog=512).start()
        except (OSError, InUse, msgspec.DecodeError) as error:
            print(_why(chosen, error), file=sys.stderr)  # noqa: T201 - what a command says
            return 1
        print(f"Klaviyo sandbox: http://{chosen.host}:{chosen.port}", flush=True)  # noqa: T201 - what a command says
        await _told_to_stop()
        await runner.cleanup()
    if store is not None:
        store.close()
    return 0


def _why(chosen: Options, error: Exception) -> str:
    if isinstance(error, InUse):
        return f"Another sandbox keeps its state in {chosen.data_dir}; choose another --data-dir (or DATA_DIR)."
    if isinstance(error, msgspec.DecodeError):
        return f"The state in {chosen.data_dir}/sandbox.journal cannot be read ({error}); move it away to begin anew."
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"Port {chosen.port} is already taken; choose another with --port (or SANDBOX_PORT)."
    return f"Cannot start on {chosen.host}:{chosen.port}: {error}."


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
