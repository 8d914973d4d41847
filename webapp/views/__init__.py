"""The pages: one blueprint a noun, each view parses, asks one service and renders."""

from __future__ import annotations

from flask import Flask


def register(app: Flask) -> None:
    """Add every blueprint."""
    from webapp.views import (
        api,
        audit,
        authorizations,
        connections,
        deliveries,
        events,
        fields,
        health,
        home,
        openapi,
        scopes,
        settings,
        sign_in,
    )

    for module in (
        home,
        sign_in,
        health,
        connections,
        authorizations,
        scopes,
        events,
        fields,
        deliveries,
        settings,
        audit,
        api,
        openapi,
    ):
        app.register_blueprint(module.blueprint)
