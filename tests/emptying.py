"""A PostgreSQL database emptied for the next test: a tenth of the time that another copy takes."""

from __future__ import annotations

from functools import cache
from typing import Any

import psycopg
from sqlalchemy.engine import make_url

from tests import databases

SMALL_BYTES = 1_000_000
_SHAPE = """
SELECT md5(string_agg(line, '' ORDER BY line)) FROM (
  SELECT attrelid::regclass || attname || atttypid || attnotnull AS line FROM pg_attribute
   WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace) AND attnum > 0
) AS columns
"""
# Of a table that nobody has looked through yet PostgreSQL holds that it has -1 rows.
_AS_NEW = """
SELECT bool_and(reltuples < 0 AND pg_relation_size(oid) < %s) FROM pg_class
 WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
"""
_EMPTY = """
DO $$
DECLARE one record;
BEGIN
  SET LOCAL lock_timeout = '200ms';
  SET LOCAL session_replication_role = replica;
  FOR one IN SELECT format('%I', tablename) AS name FROM pg_tables WHERE schemaname = 'public' LOOP
    EXECUTE 'DELETE FROM ' || one.name;
  END LOOP;
  FOR one IN SELECT format('%I', sequencename) AS name FROM pg_sequences WHERE last_value IS NOT NULL LOOP
    PERFORM setval(one.name::regclass, 1, false);
  END LOOP;
END $$
"""


def empty(url: str, template: str) -> None:
    """Make a database whose connections are closed what `template` is, which has the same tables and no rows.

    What a test changed beside rows, or filled so much that the next would be slowed down, is replaced by a copy. So is
    every SQLite file: nothing is quicker.
    """
    if make_url(url).get_backend_name() == "sqlite" or not _is_emptied(databases.name_of(url), template):
        databases.replace(url, template)


def _is_emptied(name: str, template: str) -> bool:
    with psycopg.connect(databases.server_address(name), autocommit=True) as connection:
        return _shape(connection) == _shape_of(template) and _is_as_new(connection) and _delete_all(connection)


def _shape(connection: psycopg.Connection[Any]) -> str:
    """A digest of the tables' columns and indexes."""
    found = connection.execute(_SHAPE).fetchone()
    return str(found[0]) if found else ""


@cache
def _shape_of(name: str) -> str:
    with psycopg.connect(databases.server_address(name)) as connection:
        return _shape(connection)


def _is_as_new(connection: psycopg.Connection[Any]) -> bool:
    """Whether nothing but the rows tells of who had it: little space of theirs, and no statistics."""
    found = connection.execute(_AS_NEW, [SMALL_BYTES]).fetchone()
    return found is not None and bool(found[0])


def _delete_all(connection: psycopg.Connection[Any]) -> bool:
    """Delete every row and let every number begin anew; whether that went, which a lock of somebody's prevents."""
    try:
        connection.execute(_EMPTY)
    except psycopg.errors.LockNotAvailable:
        return False
    return True
