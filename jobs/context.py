"""What a worker process has once: its life, and its app and Klaviyo client, made when the first job needs them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from flask import Flask

from webapp import create_app
from webapp.klaviyo.client import KlaviyoClient, new_session


@dataclass(slots=True)
class Life:
    """Of this process. `is_ending`: it was told to stop; the call in hand is finished, and nothing else begun."""

    is_ending: bool = False


life = Life()


@cache
def app() -> Flask:
    """This process's app."""
    return create_app(pages=False)


@cache
def client(base_url: str) -> KlaviyoClient:
    """This process's client: one session, its connections kept."""
    return KlaviyoClient(new_session(), base_url)
