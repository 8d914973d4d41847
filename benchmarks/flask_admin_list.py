"""What one would take from the shelf instead: Flask-Admin's list view over the same connections, 50 rows a page."""

from __future__ import annotations

import warnings

from flask import Flask
from sqlalchemy import Engine
from sqlalchemy.orm import scoped_session, sessionmaker

from webapp.models import Connection

PATH = "/admin/connection/"
# The columns of our table that stand in the connection's own row; ours shows lanes, scopes and a chart besides.
COLUMNS = [
    "store_id",
    "account_name",
    "klaviyo_account_id",
    "state",
    "sync_behavior",
    "list_name",
    "list_opt_in",
    "last_delivered_at",
    "profiles_created",
    "row_version",
]


def make_app(engine: Engine) -> Flask:
    """An app with that one page, on the same database, without sign-in."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it would rather have Flask-SQLAlchemy's object
        from flask_admin import Admin
        from flask_admin.contrib.sqla import ModelView

        session = scoped_session(sessionmaker(bind=engine))
        view = ModelView(Connection, session, endpoint="connection")
    view.can_create = view.can_edit = view.can_delete = False
    view.column_list, view.page_size = COLUMNS, 50
    app = Flask("shelf")
    app.secret_key = "of no use"  # noqa: S105 - nothing is signed here
    view._refresh_cache()
    Admin(app, name="Connections").add_view(view)
    app.teardown_request(lambda _error: session.remove())
    return app
