"""The app and the Klaviyo client of a worker process, made once, when the first job needs them."""

from __future__ import annotations

from functools import cache

from flask import Flask

from webapp import create_app
from webapp.klaviyo.client import KlaviyoClient, new_session


@cache
def app() -> Flask:
    """This process's app."""
    return create_app(pages=False)


@cache
def client(base_url: str) -> KlaviyoClient:
    """This process's client: one session, its connections kept."""
    return KlaviyoClient(new_session(), base_url)
