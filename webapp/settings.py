"""The settings: read once from the environment (each also as `NAME_FILE`), typed, refusing to start when wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parseaddr
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from webapp.crypto import KeyRing, new_key, new_secret
from webapp.kept import EMBEDDED

KLAVIYO_AUTHORIZE_URL = "https://www.klaviyo.com/oauth/authorize"
KLAVIYO_API_URL = "https://a.klaviyo.com"
SANDBOX_CLIENT_ID = "sandbox-client"
SANDBOX_CLIENT_SECRET = "sandbox-secret"  # noqa: S105 - the stand-in's published demo secret, worth nothing
SQLITE = "cevoid.sqlite3"
SECRET_LENGTH = 16
LOOPBACK_HOSTS = {"127.0.0.1", "localhost", "::1"}


class WrongSetting(Exception):
    """A missing or malformed setting; the text is one sentence that names it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the program is told from outside. Secrets are kept out of `repr`."""

    data_dir: Path
    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    klaviyo_client_id: str
    klaviyo_client_secret: str = field(repr=False)
    klaviyo_authorize_url: str
    klaviyo_api_url: str
    uses_sandbox: bool
    public_url: str
    secret_key: str = field(repr=False)
    secret_key_fallbacks: tuple[str, ...] = field(repr=False)
    token_keys: tuple[str, ...] = field(repr=False)
    mail_url: str | None = field(repr=False)
    mail_from: str | None
    trusted_proxies: int

    @property
    def is_https(self) -> bool:
        """Whether people reach us over TLS, which decides cookie flags and HSTS."""
        return self.public_url.startswith("https://")

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is SQLite (one machine)."""
        return make_url(self.database_url).get_backend_name() == "sqlite"

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """The settings that name another machine; the demo wants none."""
        hosts = {
            "PUBLIC_URL": urlsplit(self.public_url).hostname,
            "KLAVIYO_AUTHORIZE_URL": urlsplit(self.klaviyo_authorize_url).hostname,
            "KLAVIYO_API_URL": urlsplit(self.klaviyo_api_url).hostname,
        }
        database = make_url(self.database_url)
        if not self.is_sqlite and not str(database.query.get("host", "")).startswith("/"):
            hosts["DATABASE_URL"] = database.host
        if not self.redis_url.startswith("unix:"):
            hosts["REDIS_URL"] = urlsplit(self.redis_url).hostname
        return tuple(name for name, host in hosts.items() if host not in LOOPBACK_HOSTS)

    @property
    def all_on_loopback(self) -> bool:
        """Whether web, database, Redis and Klaviyo are all on this machine: the demo's precondition."""
        return not self.elsewhere

    @property
    def may_be_demo(self) -> bool:
        """Whether what everybody knows of the demo may open anything here."""
        return self.uses_sandbox and self.all_on_loopback


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of `environ` (the process's by default). Raises WrongSetting with one sentence."""
    env = _Environment(os.environ if environ is None else environ)
    data_dir = Path(env.get("DATA_DIR") or "./instance").absolute()
    database_url = env.get("DATABASE_URL")
    generate = database_url is None
    if generate:
        _make_private(data_dir)
        if not (data_dir / SQLITE).exists():
            (data_dir / SQLITE).touch(mode=0o600)  # the directory may be an older one, and open to others
    client_id, client_secret = env.klaviyo_app()
    sandbox_url = f"http://127.0.0.1:{env.port('SANDBOX_PORT', 8100)}"
    return Settings(
        data_dir=data_dir,
        database_url=_database_url(database_url, data_dir),
        redis_url=_redis_url(env.get("REDIS_URL"), data_dir),
        klaviyo_client_id=client_id or SANDBOX_CLIENT_ID,
        klaviyo_client_secret=client_secret or SANDBOX_CLIENT_SECRET,
        klaviyo_authorize_url=env.url(
            "KLAVIYO_AUTHORIZE_URL", KLAVIYO_AUTHORIZE_URL if client_id else f"{sandbox_url}/oauth/authorize"
        ),
        klaviyo_api_url=env.url("KLAVIYO_API_URL", KLAVIYO_API_URL if client_id else sandbox_url),
        uses_sandbox=client_id is None,
        public_url=env.public_url(),
        secret_key=_secret_key(env, data_dir, generate=generate),
        secret_key_fallbacks=_secret_key_fallbacks(env),
        token_keys=_token_keys(env, data_dir, generate=generate),
        mail_url=env.mail_url(),
        mail_from=env.mail_from(),
        trusted_proxies=env.trusted_proxies(),
    )


class _Environment:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def get(self, name: str) -> str | None:
        """The setting's text, from NAME or from the file NAME_FILE points to; None when unset or empty."""
        path = self._environ.get(f"{name}_FILE")
        if path and self._environ.get(name):
            raise WrongSetting(f"{name} and {name}_FILE are both set; set one of them.")
        if not path:
            return self._environ.get(name, "").strip() or None
        try:
            text = Path(path).read_text().strip()
        except OSError as problem:
            raise WrongSetting(f"{name}_FILE cannot be read: {problem.strerror}.") from problem
        except UnicodeDecodeError:
            raise WrongSetting(f"{name}_FILE does not hold text.") from None
        if not text:  # as if it were unset, a secret that was not mounted would be replaced by a default
            raise WrongSetting(f"{name}_FILE names an empty file.")
        return text

    def klaviyo_app(self) -> tuple[str | None, str | None]:
        """Both or neither: a secret alone would start the sandbox where a real app was meant."""
        names = ("KLAVIYO_CLIENT_ID", "KLAVIYO_CLIENT_SECRET")
        client_id, secret = (self.get(name) for name in names)
        if bool(client_id) != bool(secret):
            missing, there = names if secret else reversed(names)
            raise WrongSetting(f"{missing} is missing: {there} is set, and the two go together.")
        return client_id, secret

    def words(self, name: str) -> list[str]:
        return [word for word in (self.get(name) or "").replace(",", " ").split() if word]

    def url(self, name: str, default: str) -> str:
        text = self.get(name) or default
        if not _is_address(text, {"http", "https"}):
            raise WrongSetting(f"{name} must be an http or https address.")
        return text.rstrip("/")

    def public_url(self) -> str:
        """Scheme, host and port: our own links begin at the root, so behind a path they would lead out of it."""
        parts = urlsplit(self.url("PUBLIC_URL", f"http://127.0.0.1:{self.port('PORT', 8000)}"))
        if parts.path or parts.query or parts.fragment or "@" in parts.netloc:
            raise WrongSetting("PUBLIC_URL must be scheme, host and port alone, such as https://cevoid.example.com.")
        return f"{parts.scheme}://{parts.netloc}"

    def mail_url(self) -> str | None:
        text = self.get("MAIL_URL")
        if bool(text) != bool(self.get("MAIL_FROM")):
            raise WrongSetting("MAIL_URL and MAIL_FROM go together: set both for mail, or neither.")
        if text and not _is_address(text, {"smtp", "smtps", "smtp+tls"}):
            raise WrongSetting("MAIL_URL must be an address such as smtp://host, smtp+tls://host or smtps://host.")
        return text

    def mail_from(self) -> str | None:
        text = self.get("MAIL_FROM")
        if text and "@" not in parseaddr(text)[1]:
            raise WrongSetting("MAIL_FROM must be an e-mail address.")
        return text

    def trusted_proxies(self) -> int:
        """How many stand in front of us. Each notes whose call it passes on; more than there are could be made up."""
        text = self.get("TRUSTED_PROXIES") or "0"
        if text not in set("0123456789"):
            raise WrongSetting("TRUSTED_PROXIES must be the number of proxies in front, from 0 to 9.")
        return int(text)

    def port(self, name: str, default: int) -> int:
        text = self.get(name) or str(default)
        if not (text.isascii() and text.isdigit()) or not 0 < int(text) < 65536:
            raise WrongSetting(f"{name} must be a port number from 1 to 65535.")
        return int(text)


def _is_address(text: str, schemes: set[str]) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # a port that is no number, half an IPv6 address
        return False


def _make_private(data_dir: Path) -> None:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        raise WrongSetting(f"DATA_DIR cannot be made: {problem.strerror}.") from problem
    if not os.access(data_dir, os.W_OK):
        raise WrongSetting("DATA_DIR cannot be written to: choose another directory with DATA_DIR=...")


def _database_url(text: str | None, data_dir: Path) -> str:
    if text is None:
        return f"sqlite:///{data_dir / SQLITE}"
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise WrongSetting("DATABASE_URL is not a database address such as postgresql://user@host/name.") from None
    backend = url.get_backend_name()
    if backend in {"postgresql", "postgres"}:
        return url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    if backend == "sqlite" and url.database:
        return text
    raise WrongSetting("DATABASE_URL must be PostgreSQL, or SQLite in a file.")


def _redis_url(text: str | None, data_dir: Path) -> str:
    kept = data_dir / EMBEDDED
    if text is None and kept.exists():
        text = kept.read_text().strip()
    url = text or f"unix://{data_dir / 'valkey.sock'}"
    if not _is_redis(url):
        raise WrongSetting("REDIS_URL must be an address such as redis://host:6379/0, rediss://host or unix:///path.")
    return url


def _is_redis(url: str) -> bool:
    """Whether it leads where it says: from a path or a db that is no number, Redis' client goes to database 0."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if not all(value.isascii() and value.isdigit() for value in parse_qs(parts.query, True).get("db", [])):
        return False
    if parts.scheme == "unix":
        return url.startswith("unix://") and parts.path not in {"", "/"}
    return _is_address(url, {"redis", "rediss"}) and re.fullmatch("/?[0-9]*/?", parts.path) is not None


def _secret_key(env: _Environment, data_dir: Path, *, generate: bool) -> str:
    key = env.get("SECRET_KEY")
    if key is None and not generate:
        raise WrongSetting("SECRET_KEY is missing: it is required once DATABASE_URL is set.")
    key = key or _kept(data_dir / "secret_key", new_secret)
    if len(key) < SECRET_LENGTH:
        raise WrongSetting(f"SECRET_KEY is too short: use at least {SECRET_LENGTH} characters.")
    return key


def _secret_key_fallbacks(env: _Environment) -> tuple[str, ...]:
    """Each opens what it signed as the newest key does; of one with a space in it every word would."""
    keys = tuple(env.words("SECRET_KEY_FALLBACKS"))
    if any(len(key) < SECRET_LENGTH for key in keys):
        raise WrongSetting(
            f"SECRET_KEY_FALLBACKS holds a key of fewer than {SECRET_LENGTH} characters; a comma or a space ends a key."
        )
    return keys


def _token_keys(env: _Environment, data_dir: Path, *, generate: bool) -> tuple[str, ...]:
    keys = tuple(env.words("TOKEN_KEYS"))
    if not keys and not generate:
        raise WrongSetting("TOKEN_KEYS is missing: it is required once DATABASE_URL is set.")
    keys = keys or tuple(_kept(data_dir / "token_keys", new_key).split())
    try:
        KeyRing(keys)
    except ValueError as problem:
        raise WrongSetting(f"TOKEN_KEYS is wrong: {problem}.") from None
    return keys


def _kept(path: Path, make: Callable[[], str]) -> str:
    """The text of `path`; made once where it does not exist, readable by its owner only.

    Several processes may start at once: the one that links its file into place wins and the others read it.
    """
    if not path.exists():
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(make())
        with suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_text().strip()
