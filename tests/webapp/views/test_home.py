"""The workspaces one may see: for support all of them, the worst connection first. Both databases."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from sqlalchemy import select

from tests.rows import Rows
from tests.webapp.views.pages import signed_in, text_of
from webapp.database import writing
from webapp.models import Lane, Workspace
from webapp.services.connections import lifecycle, overview


def order(html: str) -> list[int]:
    return [int(found) for found in re.findall(r'id="workspace-(\d+)"', html)]


def test_for_support_the_one_that_needs_help_most_stands_first(any_app: Flask, rows: Rows) -> None:
    names = ["fine", "paused", "lost", "empty", "ended"]
    made: dict[str, Workspace] = {name: rows.workspace(name) for name in names}
    held = {}
    for name in ("fine", "paused", "lost", "ended"):
        held[name] = rows.connection(made[name], rows.store(made[name], name), account_name=f"Acme {name}")
    # Its worst counts, not its first.
    worse = rows.connection(made["lost"], rows.store(made["lost"], "second"), account_name="Acme worse")
    lifecycle.lose_grant(worse.id, "Klaviyo no longer accepts our access")
    agent_user = rows.user(support=True, name="Ada at support")
    lifecycle.pause(made["paused"].id, held["paused"].id, agent_user.id, on=True)
    lifecycle.disconnect(made["ended"].id, held["ended"].id, 1)
    agent = signed_in(any_app, agent_user)
    page = agent.get("/")
    assert order(page.text) == [made[name].id for name in ("lost", "paused", "fine", "empty", "ended")]
    text = text_of(page)
    for words in ("Acme worse second Reconnect needed", "Paused by Ada at support", "Acme fine", "Not connected"):
        assert words in text
    assert order(agent.get("/?search=LO").text) == [made["lost"].id]
    assert "No workspace fits" in text_of(agent.get("/?search=%25"))


def test_a_workspace_is_found_whatever_the_case_of_any_letter(any_app: Flask, rows: Rows) -> None:
    made = rows.workspace("north", name="Övik")
    rows.workspace("south", name="Lund")
    agent = signed_in(any_app, rows.user(support=True))
    assert [order(agent.get(f"/?search={typed}").text) for typed in ("övik", "ÖVIK", "Övik")] == [[made.id]] * 3


def test_pages_of_workspaces(any_app: Flask, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "PAGE", 3)
    made = [rows.workspace(f"w{number}").id for number in range(7)]
    agent = signed_in(any_app, rows.user(support=True))
    seen = [order(agent.get(f"/?page={page}").text) for page in (1, 2, 3)]
    assert seen == [made[:3], made[3:6], made[6:]]
    assert "Page 2 of 3" in text_of(agent.get("/?page=2"))
    assert agent.get("/?page=nonsense").status_code == 200


def test_an_owner_sees_theirs_and_with_one_goes_straight_there(any_app: Flask, rows: Rows) -> None:
    mine = rows.workspace("mine")
    rows.workspace("theirs")
    user = rows.user(mine)
    owner = signed_in(any_app, user)
    assert owner.get("/").headers["Location"] == "/w/mine/settings/integrations/klaviyo"
    nobody = signed_in(any_app, rows.user())
    assert "You are in no workspace yet" in text_of(nobody.get("/"))


def test_what_klaviyo_does_not_take_is_worse_than_what_it_takes(any_app: Flask, rows: Rows) -> None:
    fine, held = rows.workspace("a-fine"), rows.workspace("held")
    rows.connection(fine, rows.store(fine, "one"), account_name="Acme fine")
    rows.connection(held, rows.store(held, "two"), account_name="Acme first")
    stuck = rows.connection(held, rows.store(held, "three"), account_name="Acme stuck")
    rows.delivery(rows.activity(held), stuck)
    with writing() as session:
        for lane in session.scalars(select(Lane).where(Lane.connection_id == stuck.id)):
            lane.failures = 3
    page = signed_in(any_app, rows.user(support=True)).get("/")
    assert order(page.text) == [held.id, fine.id]
    assert "Acme stuck three" in text_of(page)


def test_what_is_delivered_in_part_is_worse_than_what_is_whole(any_app: Flask, rows: Rows) -> None:
    fine, part = rows.workspace("a-fine"), rows.workspace("part")
    rows.connection(fine, rows.store(fine, "one"), account_name="Acme fine")
    rows.connection(part, rows.store(part, "two"), account_name="Acme whole")
    rows.connection(part, rows.store(part, "three"), account_name="Acme part", scopes="accounts:read events:write")
    page = signed_in(any_app, rows.user(support=True)).get("/")
    assert order(page.text) == [part.id, fine.id]
    assert "Acme part three Delivering in part" in text_of(page)
