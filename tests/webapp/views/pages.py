"""A signed-in browser of the test client, and what a page says, for tests of views."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from webapp.models import User
from webapp.services.workspaces import sessions

HTMX = {"HX-Request": "true"}


def signed_in(app: Flask, user: User) -> FlaskClient:
    """A browser in which `user` is signed in. Forms need no token."""
    app.config["WTF_CSRF_ENABLED"] = False
    client = app.test_client()
    client.set_cookie("cevoid", sessions.begin(user, "test"))
    return client


def text_of(answer: Any) -> str:
    """What a person reads on a page, spaces squeezed."""
    words = re.sub(r"<(script|style|svg)\b.*?</\1>|<[^>]+>", " ", answer.text, flags=re.DOTALL)
    return " ".join(unescape(words).split())
