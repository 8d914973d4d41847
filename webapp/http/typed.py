"""What people type, as it reaches the views."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flask import Request
from werkzeug.datastructures import ImmutableMultiDict


class WithoutNul(ImmutableMultiDict[str, Any]):
    """Names and values with the NUL characters taken out: nobody means them, and PostgreSQL keeps none in a text."""

    def __init__(self, pairs: Iterable[tuple[str, Any]] = ()) -> None:
        super().__init__([(name, _clean(value)) for name, value in pairs])


def _clean(value: Any) -> Any:
    return value.replace("\x00", "") if isinstance(value, str) else value


class TypedRequest(Request):
    """Flask's request with clean forms and queries."""

    parameter_storage_class = WithoutNul
