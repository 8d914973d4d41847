"""The web application. `create_app` is the only place that knows every part of it.

Its imports stand inside, so that `webapp.klaviyo` and `webapp.catalogue` can be used without Flask or a database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from webapp.settings import Settings


def create_app(settings: Settings | None = None, *, pages: bool = True) -> Flask:
    """The Flask app: settings, extensions, how we speak HTTP, views, commands. Raises WrongSetting.

    Without `pages` it is a worker's: database and settings alone, and what only pages need is never loaded.
    """
    from flask import Flask

    from webapp import database, engines, extensions, log, models
    from webapp.settings import load

    log.set_up()
    values = settings or load()
    app = Flask("webapp", template_folder="../templates", static_folder="../static")
    app.config.update(_flask_config(values))
    models.load_all()
    extensions.init_app(app, values)
    app.teardown_appcontext(database.forget_reads)
    with app.app_context():
        engines.prepare(extensions.db.engine, read_only=False)
        engines.prepare(extensions.db.engines["read"], read_only=True)
    if pages:
        _add_pages(app, values)
    return app


def _add_pages(app: Flask, values: Settings) -> None:
    from webapp import cli, extensions, http, views

    http.init_app(app, trusted_proxies=values.trusted_proxies)  # who asks, and from where, before the form's token
    extensions.init_pages(app)
    views.register(app)
    cli.register(app)


def _flask_config(values: Settings) -> dict[str, object]:
    from webapp import engines

    return {
        "SECRET_KEY": values.secret_key,
        "SECRET_KEY_FALLBACKS": list(values.secret_key_fallbacks),
        "SQLALCHEMY_DATABASE_URI": values.database_url,
        "SQLALCHEMY_ENGINE_OPTIONS": engines.engine_options(values.database_url, read_only=False),
        "SQLALCHEMY_BINDS": {
            "read": {
                "url": values.database_url,
                **engines.engine_options(values.database_url, read_only=True),
            }
        },
        "MAX_CONTENT_LENGTH": 6 * 1024 * 1024,
        "MAX_FORM_MEMORY_SIZE": 512 * 1024,
        # The table may stand open all day: its forms' tokens live as long as the session they are bound to.
        "WTF_CSRF_TIME_LIMIT": None,
        # It would compare with the name that a proxy has for us; where a form comes from is asked in `access`.
        "WTF_CSRF_SSL_STRICT": False,
        # Holds the forms' token and what is said once. A name of its own: cookies of other ports arrive here too.
        "SESSION_COOKIE_NAME": "__Host-cevoid-forms" if values.is_https else "cevoid-forms",
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SECURE": values.is_https,
        "TEMPLATES_AUTO_RELOAD": False,
    }
