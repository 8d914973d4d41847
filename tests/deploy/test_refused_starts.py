"""A start that cannot be is one sentence on the terminal; whatever else there is to say stands in a log."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes import Child, free_port, python
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
