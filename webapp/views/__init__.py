"""The pages: one blueprint a noun, each view parses, asks one service and renders."""

from __future__ import annotations

from flask import Flask


def register(app: Flask) -> None:
    """Add every blueprint."""
    from webapp.views import (
        api,
        audit,
        authorizations,
        backfills,
        connections,
        deliveries,
        events,
        fields,
        health,
        home,
        joining,
        lists,
        openapi,
        operations,
        people,
        price,
        refusals,
        resends,
        scopes,
        settings,
        sign_in,
    )

    for module in (
        home,
        sign_in,
        joining,
        health,
        connections,
        lists,
        price,
        authorizations,
        scopes,
        events,
        fields,
        backfills,
        deliveries,
        refusals,
        resends,
        people,
        operations,
        settings,
        audit,
        api,
        openapi,
    ):
        app.register_blueprint(module.blueprint)
