"""The log: lines with the logger's name, without addresses and secrets."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from webapp import log


@pytest.fixture(autouse=True)
def _log_as_before(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    with capsys.disabled():  # the stream of this test is closed after it
        log.set_up()


def test_a_line_names_its_logger_and_masks_addresses_and_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up()
    log.get("drain").warning("slow", lane=7, said="ada@example.com sent Bearer abcdefghijkl")
    line = json.loads(capsys.readouterr().err)
    assert (line["logger"], line["event"], line["level"], line["lane"]) == ("drain", "slow", "warning", 7)
    assert line["said"] == "[address] sent Bearer [secret]"


def test_an_exceptions_text_is_masked_too(capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up()
    try:
        raise ValueError("no such person: ada@example.com")
    except ValueError as error:
        log.get("http").error("unexpected", exc_info=error)
    text = capsys.readouterr().err
    assert "no such person: [address]" in text
    assert "ada@" not in text


def test_the_password_of_an_address_is_masked_also_where_the_host_has_no_dot() -> None:
    assert log.mask("redis://:canary@localhost:6379 postgresql://me:canary@db/x") == (
        "redis://:[secret]@localhost:6379 postgresql://me:[secret]@db/x"
    )


@pytest.mark.parametrize("text", ["a" * 200_000, "token=" * 30_000, "a@" + "b" * 200_000, "a." * 100_000])
def test_a_long_text_is_masked_at_once(text: str) -> None:
    started = time.monotonic()
    log.mask(text)
    assert time.monotonic() - started < 2
