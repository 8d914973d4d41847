"""Why a change cannot be undone, said truly. Both databases."""

from __future__ import annotations

import pytest
from flask import Flask

from tests.rows import Rows
from tests.webapp.views.connection_shop import BASE
from tests.webapp.views.pages import HTMX, signed_in, text_of
from webapp.database import reading
from webapp.models import Connection


@pytest.mark.parametrize("is_alone", [True, False])
def test_a_first_store_can_be_taken_back_only_while_there_is_no_other_account(
    any_app: Flask, rows: Rows, is_alone: bool
) -> None:
    workspace = rows.workspace("mine")
    se, no = (rows.store(workspace, name) for name in ("se", "no"))
    first = rows.connection(workspace, None)
    owner = signed_in(any_app, rows.user(workspace))
    url = f"{BASE}/connections/{first.id}"
    form = {"version": "1", "store": str(se.id), "sync_behavior": "update_existing"}
    assert owner.post(url, data=form, headers=HTMX).status_code == 200
    if not is_alone:
        rows.connection(workspace, no)
    undone = owner.post(f"{url}/undo", data={"version": "2"}, headers=HTMX)
    why = "It had no store before, and beside another account it needs one, so this cannot be undone."
    assert (undone.status_code, why in text_of(undone)) == ((200, False) if is_alone else (422, True))
    assert "belongs to another Klaviyo account" not in text_of(undone)
    with reading() as session:
        assert session.get_one(Connection, first.id).store_id == (None if is_alone else se.id)
