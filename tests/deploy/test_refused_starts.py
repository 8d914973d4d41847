"""A start that cannot be is one sentence on the terminal; whatever else there is to say stands in a log."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from deploy.left_overs import MARK
from tests.processes import Child, free_port, python, wait_for
from webapp.crypto import new_key

ELSEWHERE = "The demo is for one machine, and these name another"


def _said(home: Path, **environ: str) -> tuple[int, str]:
    env = {"PORT": str(free_port()), "SANDBOX_PORT": str(free_port()), "DATA_DIR": str(home / "data"), **environ}
    child = Child("refused", python("-m", "deploy.supervise"), env, home)
    child.start()
    return child.wait(60), child.tail()


def test_an_absent_database_is_one_sentence(tmp_path: Path) -> None:
    url = f"postgresql://someone:canary-password@127.0.0.1:{free_port()}/cevoid"
    code, said = _said(tmp_path, DATABASE_URL=url, SECRET_KEY="s" * 20, TOKEN_KEYS=new_key())
    log = tmp_path / "data" / "logs" / "prepare.log"
    assert code == 1
    assert said == (
        f"The database cannot be opened: is it running, and does DATABASE_URL name it? More stands in {log}."
    )
    assert "canary-password" not in log.read_text()


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        (
            {"REDIS_URL": "redis://redis.example.com/0"},
            f"{ELSEWHERE}: REDIS_URL. A real installation sets KLAVIYO_CLIENT_ID.",
        ),
        (
            {"KLAVIYO_CLIENT_ID": "an-app"},
            "KLAVIYO_CLIENT_SECRET is missing: KLAVIYO_CLIENT_ID is set, and the two go together.",
        ),
    ],
)
def test_a_wrong_setting_is_one_sentence(environ: dict[str, str], sentence: str, tmp_path: Path) -> None:
    assert _said(tmp_path, **environ) == (1, sentence)


def test_a_web_server_started_by_hand_gives_up_too(tmp_path: Path) -> None:
    env = {"DATA_DIR": str(tmp_path / "data"), "PUBLIC_URL": "nowhere"}
    gunicorn = python("-m", "gunicorn", "--no-control-socket", "--bind", f"127.0.0.1:{free_port()}", "wsgi:app")
    child = Child("by-hand", gunicorn, env, tmp_path)
    child.start()
    try:
        assert child.wait(30) != 0
    finally:
        child.stop()
    assert child.tail().count("PUBLIC_URL must be an http or https address.") == 1


def test_an_argument_starts_nothing(tmp_path: Path) -> None:
    env = {"PORT": str(free_port()), "SANDBOX_PORT": str(free_port()), "DATA_DIR": str(tmp_path / "data")}
    child = Child("asked", python("-m", "deploy.supervise", "--help"), env, tmp_path)
    child.start()
    assert child.wait(60) == 1
    assert "environment variables" in child.tail()
    assert not (tmp_path / "data").exists()


def _marked(data_dir: Path) -> list[psutil.Process]:
    everybody = psutil.process_iter(["environ"])
    found = [each for each in everybody if str(data_dir) in (each.info["environ"] or {}).get(MARK, "")]
    return [each for each in found if each.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_while_the_database_is_made_ready_leaves_nobody(number: signal.Signals, tmp_path: Path) -> None:
    data, slow = tmp_path / "data", tmp_path / "slow"
    os.mkfifo(slow)  # nobody writes into it: whoever reads the settings is still at it when the test goes on
    env = {"PORT": str(free_port()), "SANDBOX_PORT": str(free_port()), "DATA_DIR": str(data)}
    env["SECRET_KEY_FILE"] = str(slow)
    child = Child("stopped", python("-m", "deploy.supervise"), env, tmp_path)
    child.start()
    wait_for(lambda: len(_marked(data)) == 1, "the process that prepares it")
    child.signal(number, group=False)
    wait_for(lambda: not _marked(data), "nobody left")  # before its group is reaped
    assert child.wait(30) == (-signal.SIGKILL if number is signal.SIGKILL else 0)
    assert child.log.read_text() == ""
    started = {each.name for each in (data / "logs").iterdir()}
    assert started <= {"prepare.log"}, "nothing is started on a database that is not ready"


def test_redis_may_be_named_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://redis.example.com/0")
    assert _said(tmp_path, REDIS_URL_FILE=str(tmp_path / "url"))[1].startswith(f"{ELSEWHERE}: REDIS_URL.")


def test_what_is_passed_on_may_be_named_by_a_file_too(tmp_path: Path) -> None:
    environ = {"REDIS_URL": "redis://redis.example.com/0"}
    for name, text in {"PORT": free_port(), "SANDBOX_PORT": free_port(), "DATA_DIR": tmp_path / "data"}.items():
        (tmp_path / name).write_text(str(text))
        environ |= {name: "", f"{name}_FILE": str(tmp_path / name)}
    assert _said(tmp_path, **environ)[1].startswith(f"{ELSEWHERE}: REDIS_URL.")
