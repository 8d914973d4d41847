"""JSON as others send it: fast where it is clean; a broken character is replaced and costs nobody the rest."""

from __future__ import annotations

import json
from typing import Any

import orjson

REPLACED = "\ufffd"


class NotJSON(Exception):
    """The text is not JSON."""


def parse(body: bytes) -> Any:
    r"""The value. Raises NotJSON.

    Half a character (`"\ud83d"`, which JavaScript writes of a text cut in the middle of one) is JSON by its grammar and
    no text: it becomes U+FFFD, in the one value that has it. The fast parser refuses the whole body instead.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        if b"\\ud" not in body.lower():
            raise NotJSON from None
    try:
        text = json.dumps(json.loads(body), ensure_ascii=False)
        return orjson.loads(text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))
    except (ValueError, RecursionError):
        raise NotJSON from None


def parse_leniently(body: bytes) -> Any:
    """The same where one of its numbers is too large for the fast parser, which refuses the whole body. Raises NotJSON.

    What is in it is to be parsed once more, part by part.
    """
    try:
        return json.loads(body, parse_int=_integer, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise NotJSON from None


def _integer(digits: str) -> int | float:
    """Python reads no integer of thousands of digits: that is none of ours either, and costs nobody the rest."""
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def _refuse(constant: str) -> Any:
    raise ValueError(constant)  # NaN and Infinity are no JSON
