"""Whether the database's tables are the ones this program was written for."""

from __future__ import annotations

from sqlalchemy import inspect

from webapp.extensions import db


def lacking() -> list[str]:
    """The columns of ours that the database does not have, such as `lanes.fence`."""
    inspector = inspect(db.engines["read"])
    there = inspector.get_multi_columns()
    names = {(table, column["name"]) for (_, table), columns in there.items() for column in columns}
    ours = [(table.name, column.name) for table in db.metadata.sorted_tables for column in table.columns]
    return [f"{table}.{column}" for table, column in ours if (table, column) not in names]


def made_by_another_version(missing: list[str]) -> str:
    """What a person is told of such a database."""
    shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
    return (
        f"The database was made by another version of this program (it lacks {shown}). "
        "Go back to that version, or begin anew with another DATA_DIR or DATABASE_URL."
    )
