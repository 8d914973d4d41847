"""Before anything starts: migrate, and seed the demo. This also is where every setting is read for the first time.

`python -m deploy.prepare demo|plain`, a process of its own: what it loads is gone when it ends.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def begun(environ: Mapping[str, str], *, is_demo: bool) -> Iterator[subprocess.Popen[str]]:
    """Under way: whoever starts it has other things to make ready meanwhile. Nobody waits for it any more: it ends."""
    with subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "deploy.prepare", "demo" if is_demo else "plain"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()  # halfway through, its transaction is rolled back


def need(process: subprocess.Popen[str], log: Path) -> None:
    """Wait for its end. Ends this process with one sentence where it failed."""
    said, _ = process.communicate()
    if process.returncode:
        sys.exit(_why(said.strip(), log))


def _why(said: str, log: Path) -> str:
    """One sentence: its own where there is one, else where the whole of it stands."""
    from webapp.log import mask

    if "Traceback (most recent call last)" not in said:
        return said.splitlines()[-1] if said else "The database could not be made ready."
    log.write_text(mask(said))
    if "OperationalError" in said:
        return f"The database cannot be opened: is it running, and does DATABASE_URL name it? More stands in {log}."
    return f"The database could not be made ready. What happened stands in {log}."


def main(kind: str) -> None:
    """Do it. Ends the process with a sentence where it cannot be."""
    from flask_migrate import Migrate, upgrade

    from webapp import create_app, demo
    from webapp.extensions import db, settings
    from webapp.schema import lacking, made_by_another_version
    from webapp.settings import WrongSetting

    try:
        app = create_app(pages=False)
    except WrongSetting as problem:
        sys.exit(str(problem))
    Migrate().init_app(app, db, render_as_batch=True, compare_type=True)
    with app.app_context():
        refusal = demo.refusal(settings()) if kind == "demo" else None
        if refusal:
            sys.exit(refusal)
        upgrade()
        missing = lacking()
        if missing:
            sys.exit(made_by_another_version(missing))
        if kind == "demo":
            demo.seed()


if __name__ == "__main__":
    main(sys.argv[1])
