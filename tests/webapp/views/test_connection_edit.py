"""Editing a connection: both values at a conflict, undo, bad input, the picker, the price. Both databases."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select, update

from tests.rows import Rows
from tests.webapp.views.connection_shop import BASE, Shop, shown
from tests.webapp.views.pages import HTMX, text_of
from webapp import clock
from webapp.catalogue.reasons import Reason
from webapp.catalogue.words import Kind, SyncBehavior
from webapp.database import reading, writing
from webapp.models import (
    AuditEntry,
    Delivery,
    Task,
    TaskState,
)
from webapp.services.connections import lifecycle, lists
from webapp.services.oauth import grants


@pytest.fixture
def shop(any_app: Flask, rows: Rows) -> Shop:
    return Shop(any_app, rows)


def test_saving_changes_the_row_only_and_offers_to_undo(shop: Shop) -> None:
    shop.fetched(shop.first, ("L1", "Newsletter", "double_opt_in"), ("L2", "Members", "single_opt_in"))
    edit = shop.owner.get(shop.url(shop.first, "/edit"), headers=HTMX)
    assert edit.text.lstrip().startswith(f'<tr id="connection-{shop.first.id}" class="editing" data-editing')
    assert "Members · single opt-in" in edit.text
    form = shop.form(shop.first, store=str(shop.de.id), sync_behavior="create_profile", list="L2")
    saved = shop.owner.post(shop.url(shop.first), data=form, headers=HTMX)
    assert saved.status_code == 200
    assert shown(saved.text) == [shop.first.id]
    for words in ("acme.de", "Create profile", "Members single opt-in", "Undo"):
        assert words in text_of(saved)
    now = shop.read(shop.first)
    assert (now.store_id, now.sync_behavior, now.list_id) == (shop.de.id, SyncBehavior.CREATE_PROFILE, "L2")
    undone = shop.owner.post(shop.url(shop.first, "/undo"), data={"version": str(now.row_version)}, headers=HTMX)
    assert undone.status_code == 200
    back = shop.read(shop.first)
    assert (back.store_id, back.sync_behavior, back.list_id) == (shop.se.id, SyncBehavior.UPDATE_EXISTING, None)
    assert back.row_version > now.row_version
    with reading() as session:
        actions = session.scalars(select(AuditEntry.action).order_by(AuditEntry.id)).all()
        assert actions == ["connection.edited", "connection.undone"]


def test_lists_of_one_name_are_told_apart(shop: Shop) -> None:
    lists = (("L1", "News · daily", "double_opt_in"), ("L2", "Members", ""), ("L3", "Members", "single_opt_in"))
    shop.fetched(shop.first, *lists)
    edit = shop.owner.get(shop.url(shop.first, "/edit"), headers=HTMX).text
    for name in ("News · daily", "Members (L2)", "Members (L3)"):
        assert f'data-name="{name}"' in edit
    shop.owner.post(shop.url(shop.first), data=shop.form(shop.first, list="L3"), headers=HTMX)
    assert (shop.read(shop.first).list_id, shop.read(shop.first).list_name) == ("L3", "Members")


def test_undo_is_refused_where_it_cannot_be(shop: Shop) -> None:
    nothing = shop.owner.post(shop.url(shop.first, "/undo"), data={"version": "1"}, headers=HTMX)
    assert (nothing.status_code, "nothing to undo" in text_of(nothing)) == (422, True)
    shop.owner.post(shop.url(shop.first), data=shop.form(shop.first, store=str(shop.de.id)))
    shop.owner.post(shop.url(shop.second), data=shop.form(shop.second, store=str(shop.se.id)))
    version = str(shop.read(shop.first).row_version)
    taken = shop.owner.post(shop.url(shop.first, "/undo"), data={"version": version}, headers=HTMX)
    assert (taken.status_code, "belongs to another" in text_of(taken)) == (422, True)
    stale = shop.owner.post(shop.url(shop.first, "/undo"), data={"version": "1"}, headers=HTMX)
    assert (stale.status_code, "changed meanwhile" in text_of(stale)) == (409, True)
    assert shop.owner.post(shop.url(shop.first, "/undo"), data={"version": "no number"}).status_code == 303
    assert shop.read(shop.first).store_id == shop.de.id


def test_somebody_else_saved_first_both_values_and_nothing_typed_is_lost(shop: Shop) -> None:
    shop.fetched(shop.first, ("L1", "Newsletter", "double_opt_in"), ("L2", "Members", "single_opt_in"))
    mine = shop.form(shop.first, store=str(shop.de.id), sync_behavior="create_profile", list="L1")
    shop.owner.post(shop.url(shop.first), data=shop.form(shop.first, list="L2"))
    for headers in (HTMX, {}):
        refused = shop.owner.post(shop.url(shop.first), data=mine, headers=headers)
        assert refused.status_code == 409
        text = text_of(refused)
        assert "Somebody else saved this connection meanwhile" in text
        for theirs in ("They chose: acme.se", "They chose: Only update existing", "They chose: Members"):
            assert theirs in text
        for chosen in (f'value="{shop.de.id}" selected', 'value="create_profile" selected', 'value="L1" selected'):
            assert chosen in refused.text
    assert shop.read(shop.first).sync_behavior is SyncBehavior.UPDATE_EXISTING
    # Saving again, over the version that is shown now, uses mine.
    again = {**mine, "version": str(shop.read(shop.first).row_version)}
    assert shop.owner.post(shop.url(shop.first), data=again, headers=HTMX).status_code == 200
    now = shop.read(shop.first)
    assert (now.store_id, now.sync_behavior, now.list_id) == (shop.de.id, SyncBehavior.CREATE_PROFILE, "L1")


def test_saving_what_it_is_already_changes_nothing(shop: Shop) -> None:
    before = shop.read(shop.first).row_version
    assert shop.owner.post(shop.url(shop.first), data=shop.form(shop.first), headers=HTMX).status_code == 200
    assert shop.read(shop.first).row_version == before


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"store": "999999"}, "Choose one of this workspace's stores."),
        ({"store": "x"}, "Choose one of this workspace's stores."),
        ({"store": "99999999999999999999"}, "Choose one of this workspace's stores."),
        ({"store": ""}, "Choose the store this Klaviyo account belongs to."),
        ({"sync_behavior": "delete_everybody"}, "Choose one of the two behaviors."),
        ({"list": "nowhere"}, "not in the Klaviyo account any more"),
        ({"list": "<script>"}, "Choose one of the lists offered."),
        ({"version": "no number"}, "Reload it and try again"),
    ],
)
@pytest.mark.parametrize("headers", [HTMX, {}])
def test_bad_input_is_a_plain_422_and_nothing_is_saved(
    shop: Shop, changes: dict[str, str], sentence: str, headers: dict[str, str]
) -> None:
    shop.fetched(shop.first, ("L1", "Newsletter", "double_opt_in"))
    before = shop.form(shop.first)
    answer = shop.owner.post(shop.url(shop.first), data={**before, **changes}, headers=headers)
    assert answer.status_code == 422
    assert sentence in text_of(answer)
    assert "<script>" not in answer.text
    assert shop.form(shop.first) == before


def test_the_store_of_somebody_else_is_refused(shop: Shop) -> None:
    foreign = shop.rows.store(shop.rows.workspace())
    for store in (foreign, shop.no):
        answer = shop.owner.post(shop.url(shop.first), data=shop.form(shop.first, store=str(store.id)), headers=HTMX)
        assert answer.status_code == 422
    assert shop.read(shop.first).store_id == shop.se.id


def test_a_list_deleted_since_is_refused_and_the_present_one_can_be_kept(shop: Shop) -> None:
    shop.fetched(shop.first, ("L1", "Newsletter", "double_opt_in"), ("L2", "Members", "single_opt_in"))
    shop.owner.post(shop.url(shop.first), data=shop.form(shop.first, list="L1"))
    shop.fetched(shop.first, ("L3", "New", "single_opt_in"))
    gone = shop.owner.post(shop.url(shop.first), data=shop.form(shop.first, list="L2"), headers=HTMX)
    assert (gone.status_code, "not in the Klaviyo account any more" in text_of(gone)) == (422, True)
    assert 'value="L2" selected' in gone.text
    kept = shop.owner.post(
        shop.url(shop.first), data=shop.form(shop.first, sync_behavior="create_profile"), headers=HTMX
    )
    assert kept.status_code == 200
    assert shop.read(shop.first).list_id == "L1"
    shop.change(shop.first, list_missing_at=clock.now())
    assert "Newsletter is gone in Klaviyo" in text_of(shop.owner.get(shop.url(shop.first, "/edit"), headers=HTMX))
    assert "1 needs you" in text_of(shop.owner.get(BASE))
    shop.owner.post(shop.url(shop.first), data=shop.form(shop.first, list="L3"))
    assert shop.read(shop.first).list_missing_at is None


def test_a_list_may_be_chosen_before_anybody_looked_at_them(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker is asked then, and waited for a moment."""
    asked: list[int] = []

    def sleep(_seconds: float) -> None:
        asked.append(1)
        shop.fetched(shop.first, ("L1", "News", "double_opt_in"))

    monkeypatch.setattr(time, "sleep", sleep)
    saved = shop.owner.post(shop.url(shop.first), data=shop.form(shop.first, list="L1"))
    assert (saved.status_code, shop.read(shop.first).list_name, len(asked)) == (303, "News", 1)
    gone = shop.owner.post(shop.url(shop.first), data=shop.form(shop.first, list="L2"))
    assert gone.status_code == 422
    assert "not in the Klaviyo account any more" in text_of(gone)
    assert len(asked) == 1, "they have just been read"


def test_a_list_that_is_not_there_when_klaviyo_was_asked_is_said_to_be_gone(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where somebody's picker had asked already."""
    lists.ask(shop.read(shop.first), shop.owner_user.id)

    def work() -> None:
        with shop.app.app_context(), writing() as session:
            done = {"state": TaskState.DONE, "result": {"lists": []}, "finished_at": clock.now()}
            session.execute(update(Task).values(done))

    def sleep(_seconds: float) -> None:
        worker = threading.Thread(target=work)  # whose end of a transaction is not that of the request's reads
        worker.start()
        worker.join()

    monkeypatch.setattr(time, "sleep", sleep)
    gone = shop.owner.post(shop.url(shop.first), data=shop.form(shop.first, list="L1"))
    assert "not in the Klaviyo account any more" in text_of(gone)


def test_where_klaviyo_is_not_asked_in_time_nothing_is_said_of_the_list(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "WAITED_SECONDS", 0)
    late = shop.owner.post(shop.url(shop.first), data=shop.form(shop.first, list="L1"))
    assert late.status_code == 422
    assert "still being asked for its lists. Save again in a moment" in text_of(late)


def test_a_form_without_a_list_keeps_the_list(shop: Shop) -> None:
    shop.change(shop.first, list_id="L1", list_name="Newsletter")
    form = shop.form(shop.first, sync_behavior="create_profile")
    del form["list"]
    assert shop.owner.post(shop.url(shop.first), data=form).status_code == 303
    assert shop.read(shop.first).list_id == "L1"


def test_disconnected_meanwhile_the_form_is_gone(shop: Shop) -> None:
    form = shop.form(shop.first)
    shop.owner.post(shop.url(shop.first, "/disconnect"))
    for headers in (HTMX, {}):
        answer = shop.owner.post(shop.url(shop.first), data=form, headers=headers)
        assert answer.status_code == 422
        assert "Disconnected" in text_of(answer)
        assert "Nothing was saved. This connection has been disconnected. Add a new one." in text_of(answer)
    assert shop.owner.get(shop.url(shop.first, "/edit"), headers=HTMX).status_code == 404


def test_held_consents_are_looked_at_once_people_may_be_created(shop: Shop) -> None:
    later = clock.now() + timedelta(hours=6)
    held = shop.rows.delivery(
        shop.rows.activity(shop.workspace), shop.first, kind=Kind.CONSENT, reason=Reason.NOT_IN_KLAVIYO, due_at=later
    )
    shop.owner.post(shop.url(shop.first), data=shop.form(shop.first, sync_behavior="create_profile"))
    with reading() as session:
        assert session.get_one(Delivery, held.id).due_at < later - timedelta(hours=5)


def test_the_picker_asks_and_then_waits_quietly(shop: Shop) -> None:
    url = shop.url(shop.first, "/lists")
    edit = shop.owner.get(shop.url(shop.first, "/edit"), headers=HTMX)
    assert f'hx-post="{url}" hx-trigger="load"' in edit.text
    asked = shop.owner.post(url, data={"list": ""}, headers=HTMX)
    assert asked.status_code == 200
    assert f'hx-get="{url}?since=asking" hx-trigger="every 500ms"' in asked.text
    assert shop.owner.get(f"{url}?since=asking", headers=HTMX).status_code == 204
    shop.fetched(shop.first, ("L1", "Newsletter", "double_opt_in"), ("L2", "Members", "single_opt_in"))
    done = shop.owner.get(f"{url}?since=asking&list=L2", headers=HTMX)
    assert done.status_code == 200
    assert "hx-trigger" not in done.text.split("</select>")[0]
    assert 'value="L2" selected' in done.text  # what was chosen meanwhile stays chosen
    assert "2 lists in Klaviyo" in text_of(done)
    assert shop.owner.get(url).status_code == 303


def test_the_picker_says_why_it_cannot_and_keeps_the_choice(shop: Shop) -> None:
    shop.change(shop.first, list_id="L1", list_name="Newsletter")
    with writing() as session:
        grant = grants.of(session, shop.first.id)
        assert grant is not None
        grant.scopes = "accounts:read"
    edit = shop.owner.get(shop.url(shop.first, "/edit"), headers=HTMX)
    assert "lists:read is missing" in text_of(edit)
    assert "Your present choice stays." in text_of(edit)
    assert 'value="L1" selected' in edit.text
    assert shop.owner.post(shop.url(shop.first, "/lists"), headers=HTMX).status_code == 200
    with reading() as session:
        assert session.scalars(select(Task)).all() == []
    lifecycle.lose_grant(shop.first.id, "gone")
    assert "Reconnect to see its lists" in text_of(shop.owner.get(shop.url(shop.first, "/edit"), headers=HTMX))


def test_the_price_is_said_before_create_profile_is_saved(shop: Shop) -> None:
    url = shop.url(shop.first, "/price")
    chosen = {"sync_behavior": "create_profile", "store": str(shop.se.id)}
    counting = shop.owner.post(url, data=chosen, headers=HTMX)
    assert "Counting who would be added" in text_of(counting)
    assert 'hx-trigger="every 700ms"' in counting.text
    assert "Look again" in text_of(shop.owner.post(url, data=chosen)), "without JavaScript nothing asks by itself"
    with writing() as session:
        task = session.scalars(select(Task)).one()
        assert task.arguments == {"account": "ACCTSE", "store_id": shop.se.id}
        task.done, task.result = 500, {"known": 1300, "missing": 480}
    assert "500 of 1,300 people" in text_of(shop.owner.get(url, query_string=chosen, headers=HTMX))
    with writing() as session:
        task = session.get_one(Task, task.id)
        task.state, task.finished_at = TaskState.DONE, clock.now()
        task.result = {"known": 1300, "missing": 1284}
    said = "Would add 1,284 of the 1,300 people known here."
    assert said in text_of(shop.owner.get(url, query_string=chosen, headers=HTMX))
    whole = shop.owner.post(url, data=shop.form(shop.first, **chosen))
    assert said in text_of(whole)
    assert 'value="create_profile" selected' in whole.text
    none = shop.owner.post(url, data={"sync_behavior": "update_existing"}, headers=HTMX)
    assert "Nobody is added to Klaviyo." in text_of(none)
    foreign = shop.rows.store(shop.rows.workspace())
    shop.owner.post(url, data={**chosen, "store": str(foreign.id)}, headers=HTMX)
    with reading() as session:
        assert len(session.scalars(select(Task)).all()) == 1
    assert shop.read(shop.first).sync_behavior is SyncBehavior.UPDATE_EXISTING
