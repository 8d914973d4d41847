"""The pages of syncs, as people use them without JavaScript; the worker's part is written into the rows."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import update

from tests.rows import Rows
from tests.webapp.views.pages import signed_in
from tests.webapp.views.test_sharing import text
from tests.webapp.views.troubleshooting import BASE, Shop
from webapp import clock
from webapp.database import reading, writing
from webapp.models import Connection, Task, TaskState
from webapp.services.sharing import backfills, choices

URL = f"{BASE}/backfills"


@pytest.fixture
def owner(app: Flask, shop: Shop) -> FlaskClient:
    return signed_in(app, shop.owner)


def worked(kind: str, **values: object) -> int:
    """The worker has done this to the newest task of a kind; its id."""
    with writing() as session:
        task = session.query(Task).filter_by(kind=kind).order_by(Task.id.desc()).first()
        assert task is not None
        session.execute(update(Task).where(Task.id == task.id).values(**values))
    return int(task.id)


def counted(owner: FlaskClient, shop: Shop) -> int:
    asked = owner.post(f"{URL}/counts", data={"connection": shop.connection.id})
    assert asked.headers["Location"] == f"{URL}/new/{shop.connection.id}"
    assert "Counting" in text(owner.get(asked.headers["Location"]))
    result = {"updated": 1_204, "created": 0, "not_in_klaviyo": 90, "other_store": 6}
    done = {"state": TaskState.DONE, "finished_at": clock.now(), "total": 1_300, "done": 1_300}
    return worked(backfills.COUNT_KIND, **done, result=result)


def test_a_sync_is_counted_named_watched_and_cancelled(owner: FlaskClient, shop: Shop) -> None:
    assert "No sync yet" in text(owner.get(URL))
    page = text(owner.get(f"{URL}/new/{shop.connection.id}"))
    assert "Cevoid: Points. Live activity goes first" in page
    assert "nobody is added to Klaviyo" in page
    count = counted(owner, shop)
    page = text(owner.get(f"{URL}/new/{shop.connection.id}?reason=resync"))
    assert "Would be updated 1,204 Would be created 0 Would be skipped 96" in page
    assert "90 not in Klaviyo. 6 of other stores who are not in this account." in page
    assert "Sync 1,204 people" in page
    form = {"connection": shop.connection.id, "count": count, "name": "Spring"}
    started = owner.post(URL, data=form)
    assert started.status_code == 303
    url = started.headers["Location"]
    task_id = worked(backfills.KIND, state=TaskState.RUNNING, total=1_300, cursor={"left_out": 6, "made": 0})
    assert url == f"{URL}/{task_id}"
    page = text(owner.get(url))
    assert "Spring" in page
    assert "6 of 1,300 people" in page
    assert "still written: nothing is left half done" in page
    owner.post(f"{url}/pause")
    assert "Paused" in text(owner.get(url))
    owner.post(f"{url}/resume")
    owner.post(f"{url}/cancel")
    assert "Cancelled" in text(owner.get(URL))
    poll = {"HX-Request": "true", "HX-Target": "progress"}
    first = owner.get(url, headers=poll)
    assert first.text.startswith('<div id="progress"')
    assert owner.get(f"{url}?since={first.headers['X-Version']}", headers=poll).status_code == 204


def test_what_cannot_start_is_said(owner: FlaskClient, shop: Shop) -> None:
    count = counted(owner, shop)
    choices.choose_fields(shop.workspace.id, None, ["points", "tier_name"])
    form = {"connection": shop.connection.id, "count": count}
    refused = owner.post(URL, data=form, follow_redirects=True)
    assert "Settings changed since people were counted. Count again, then start." in text(refused)
    assert "First count" in text(refused)
    for bad in ({}, {"connection": "x"}, {"connection": "9" * 30}, {"connection": "999"}):
        assert owner.post(URL, data=bad).status_code == 404
        assert owner.post(f"{URL}/counts", data=bad).status_code == 404


def test_create_profile_is_warned_of(owner: FlaskClient, shop: Shop) -> None:
    with writing() as session:
        session.execute(update(Connection).values(sync_behavior="create_profile", list_name="Members"))
    page = text(owner.get(f"{URL}/new/{shop.connection.id}"))
    assert "people who are not in Klaviyo yet are added, which may change what Klaviyo costs" in page
    assert "New ones go on the list Members." in page


def test_support_pauses_and_resumes_but_neither_starts_nor_cancels(app: Flask, owner: FlaskClient, shop: Shop) -> None:
    count = counted(owner, shop)
    url = owner.post(URL, data={"connection": shop.connection.id, "count": count}).headers["Location"]
    support = signed_in(app, shop.support)
    assert support.post(f"{url}/pause").status_code == 303
    assert support.post(f"{url}/resume").status_code == 303
    assert support.post(f"{url}/cancel").status_code == 403
    assert support.post(URL).status_code == 403
    assert 'id="cancel"' not in support.get(url).text


def test_anothers_sync_and_other_tasks_are_not_found(app: Flask, rows: Rows, owner: FlaskClient, shop: Shop) -> None:
    count = counted(owner, shop)
    assert owner.get(f"{URL}/{count}").status_code == 404
    assert owner.post(f"{URL}/{count}/cancel").status_code == 404
    url = owner.post(URL, data={"connection": shop.connection.id, "count": count}).headers["Location"]
    stranger = rows.workspace("theirs")
    theirs = signed_in(app, rows.user(stranger))
    assert theirs.get(url.replace("/w/mine/", "/w/theirs/")).status_code == 404
    assert theirs.post(f"{url}/cancel".replace("/w/mine/", "/w/theirs/")).status_code == 404
    with reading() as session:
        assert session.query(Task).filter_by(kind=backfills.KIND).one().state is TaskState.WAITING
