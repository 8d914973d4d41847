"""`flask --app wsgi doctor`: every setting and all we depend on, a line each, with what to do where it is bad."""

from __future__ import annotations

import smtplib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import redis
import requests
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from webapp import queue
from webapp.extensions import db
from webapp.models import Workspace
from webapp.schema import lacking, made_by_another_version
from webapp.services.mail import PORTS
from webapp.settings import Settings

SECONDS = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. `problem` is None where it is fine; `said` what is known of it, never a secret."""

    name: str
    said: str
    problem: str | None = None


def examine(values: Settings) -> Iterator[Finding]:
    """Everything, in the order in which it is mended."""
    yield Finding("DATA_DIR", str(values.data_dir))
    yield Finding("DATABASE_URL", "SQLite, one machine" if values.is_sqlite else "PostgreSQL")
    yield Finding("REDIS_URL", urlsplit(values.redis_url).scheme)
    yield Finding("PUBLIC_URL", values.public_url)
    yield Finding("TRUSTED_PROXIES", str(values.trusted_proxies))
    for name in ("KLAVIYO_CLIENT_ID", "KLAVIYO_CLIENT_SECRET"):
        yield Finding(name, "the sandbox's app" if values.uses_sandbox else "PRESENT")
    yield Finding("KLAVIYO_AUTHORIZE_URL", values.klaviyo_authorize_url)
    yield Finding("KLAVIYO_API_URL", values.klaviyo_api_url)
    yield Finding("SECRET_KEY", "PRESENT")
    fallbacks = len(values.secret_key_fallbacks)
    yield Finding("SECRET_KEY_FALLBACKS", f"{fallbacks} PRESENT" if fallbacks else "none")
    yield Finding("TOKEN_KEYS", f"{len(values.token_keys)} PRESENT")
    for name in ("MAIL_URL", "MAIL_FROM"):
        yield Finding(name, "PRESENT" if values.mail_url else "unset: alerts are shown on the page only")
    yield _try("database", _database, "Is it running, and does DATABASE_URL name it?")
    yield _schema()
    yield _try("redis", lambda: _redis(values), "Is it running, and does REDIS_URL name it? Nothing is lost meanwhile.")
    yield _workers()
    yield _try("klaviyo", lambda: _klaviyo(values), "Can this machine reach KLAVIYO_API_URL?")
    if values.mail_url:
        yield _try("mail", lambda: _mail(values), "Does MAIL_URL name an SMTP server?")


def _try(name: str, check: Callable[[], str], remedy: str) -> Finding:
    try:
        return Finding(name, check())
    except (DBAPIError, redis.RedisError, requests.RequestException, smtplib.SMTPException, OSError) as problem:
        return Finding(name, "", f"{type(problem).__name__}. {remedy}")


def _database() -> str:
    db.session.execute(text("SELECT 1")).scalar_one()
    return "answers"


def _tables() -> str:
    db.session.execute(select(Workspace.id).limit(1)).all()
    return "is there"


def _schema() -> Finding:
    remedy = "Run: flask --app wsgi db upgrade"
    found = _try("schema", _tables, remedy)
    missing = [] if found.problem else lacking()
    return Finding("schema", "", made_by_another_version(missing)) if missing else found


def _redis(values: Settings) -> str:
    redis.Redis.from_url(values.redis_url, socket_connect_timeout=SECONDS, socket_timeout=SECONDS).ping()
    return "answers"


def _workers() -> Finding:
    seen = queue.look()
    if seen is None:
        return Finding("workers", "", "unknown while Redis is away.")
    listening = {name for worker in seen.workers for name in worker.queue.split(", ")}
    lacking = [name for name in (queue.FAST, queue.SLOW) if name not in listening]
    if lacking:
        kinds = ", ".join("fast" if name == queue.FAST else "slow" for name in lacking)
        return Finding("workers", "", f"none for: {kinds}. Start: python -m jobs.worker fast|slow")
    return Finding("workers", f"{len(seen.workers)} listen")


def _klaviyo(values: Settings) -> str:
    answer = requests.get(f"{values.klaviyo_api_url}/api/accounts", timeout=SECONDS, allow_redirects=False)
    return f"answers ({answer.status_code} without a token is as it should be)"


def _mail(values: Settings) -> str:
    parts = urlsplit(values.mail_url or "")
    kind = smtplib.SMTP_SSL if parts.scheme == "smtps" else smtplib.SMTP
    with kind(parts.hostname or "", parts.port or PORTS.get(parts.scheme, 25), timeout=SECONDS) as server:
        server.noop()
    return "answers"
