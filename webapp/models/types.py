"""Column types shared by the tables: aware UTC times, ids, closed word lists, JSON kept as text."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, String, TypeDecorator, literal_column
from sqlalchemy.sql.expression import ColumnElement
from sqlalchemy.sql.operators import OperatorType

W = TypeVar("W", bound=StrEnum)

# SQLite gives ids by itself to INTEGER columns only.
Id = BigInteger().with_variant(Integer(), "sqlite")


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: aware UTC in Python, `timestamptz` on PostgreSQL, sortable text on SQLite. Naive ones are refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database, in UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the database, aware."""
        return _aware(value)

    def result_processor(self, dialect: Dialect, coltype: Any) -> Callable[[Any], datetime | None]:
        """The same without a detour: a bulk call's rows hold ten thousand of them."""
        return _from_text if dialect.name == "sqlite" else _aware


def _from_text(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(f"{value}+00:00")


def _aware(value: datetime | None) -> datetime | None:
    if value is None or value.tzinfo is UTC:
        return value
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class _Constants(TypeDecorator.Comparator[Any], String.Comparator[Any]):
    """A word that a column is compared with stands in the statement itself.

    As a parameter it would be unknown to PostgreSQL, which plans a statement that comes often for any parameters: such
    a plan cannot use the index of what waits, and walks everything that a connection ever had.
    """

    def operate(self, op: OperatorType, *other: Any, **kwargs: Any) -> ColumnElement[Any]:
        """As the operator does, with a member of the enum as a constant."""
        return super().operate(op, *(_constant(each) for each in other), **kwargs)


def _constant(value: Any) -> Any:
    return literal_column(f"'{value.value}'") if isinstance(value, StrEnum) else value


class Word(TypeDecorator[W], Generic[W]):
    """A word of a closed list (a StrEnum). Another word cannot be written."""

    impl = String(40)
    cache_ok = True
    comparator_factory = _Constants

    def __init__(self, words: type[W]) -> None:
        super().__init__()
        self.words = words
        self._read = _Words(words)

    def process_bind_param(self, value: W | str | None, dialect: Dialect) -> str | None:
        """To the database. Raises ValueError for a word that is not in the list."""
        return None if value is None else self.words(value).value

    def process_result_value(self, value: Any, dialect: Dialect) -> W | None:
        """From the database, as the enum's member. Raises ValueError for a word that is not in the list."""
        found: W | None = self._read[value]
        return found

    def result_processor(self, dialect: Dialect, coltype: Any) -> Callable[[Any], W | None]:
        """The same without a detour."""
        return self._read.__getitem__


class _Words(dict[Any, Any]):
    """Text -> member; None -> None. Another text is asked of the enum, which refuses it."""

    def __init__(self, words: type[StrEnum]) -> None:
        super().__init__({word.value: word for word in words})
        self[None] = None
        self._words = words

    def __missing__(self, value: Any) -> StrEnum:
        return self._words(value)
