"""What Create profile would cost, on a page whose form saves as it is posted. Both databases."""

from __future__ import annotations

import re
from html import unescape

from flask import Flask
from sqlalchemy import select

from tests.rows import Rows
from tests.webapp.views.connection_shop import Shop
from webapp import clock
from webapp.database import writing
from webapp.models import Task, TaskState

COSTS = "Create profile adds whoever is not in Klaviyo, and every person added counts in what Klaviyo costs."


def said(shop: Shop) -> str:
    """What the connection's page says of the price to those without JavaScript."""
    page = shop.owner.get(shop.url(shop.first)).text
    block = re.search(r"<noscript>(.*?)</noscript>", page.split('class="price"')[1], re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", block[1])).split()) if block else ""


def test_the_page_says_it_before_anything_is_saved(any_app: Flask, rows: Rows) -> None:
    shop = Shop(any_app, rows)
    assert said(shop) == f"{COSTS} How many would that be?"
    chosen = shop.form(shop.first, sync_behavior="create_profile")
    shop.owner.post(shop.url(shop.first, "/price"), data=chosen)
    assert said(shop) == f"{COSTS} How many is being counted. How many would that be?"
    with writing() as session:
        task = session.scalars(select(Task)).one()
        task.state, task.finished_at = TaskState.DONE, clock.now()
        task.result = {"known": 1300, "missing": 1284}
    counted = "Of the 1,300 people known here that is 1,284, as counted lately."
    assert said(shop) == f"{COSTS} {counted} How many would that be?"
    with writing() as session:
        task = session.get_one(Task, task.id)
        task.state, task.error = TaskState.FAILED, "Klaviyo did not answer."
    assert said(shop) == f"{COSTS} How many would that be?"
    shop.owner.post(shop.url(shop.first), data=shop.form(shop.first, sync_behavior="create_profile"))
    assert said(shop) == ""
