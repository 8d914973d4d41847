"""Settings: defaults that need nothing, one sentence for whatever is wrong, secrets kept out of sight."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy import valkey
from webapp.crypto import new_key
from webapp.kept import EMBEDDED
from webapp.settings import WrongSetting, load


def test_nothing_is_required(tmp_path: Path) -> None:
    found = load({"DATA_DIR": str(tmp_path)})
    assert found.is_sqlite
    assert found.uses_sandbox
    assert found.all_on_loopback
    assert found.public_url == "http://127.0.0.1:8000"
    assert found.klaviyo_authorize_url == "http://127.0.0.1:8100/oauth/authorize"


def test_generated_secrets_are_kept_and_private(tmp_path: Path) -> None:
    first, second = load({"DATA_DIR": str(tmp_path)}), load({"DATA_DIR": str(tmp_path)})
    assert (first.secret_key, first.token_keys) == (second.secret_key, second.token_keys)
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
        "secret_key": 0o600,
        "token_keys": 0o600,
        "cevoid.sqlite3": 0o600,
    }


def test_secrets_are_not_in_the_repr(tmp_path: Path) -> None:
    found = load(
        {
            "DATA_DIR": str(tmp_path),
            "KLAVIYO_CLIENT_ID": "an-app",
            "KLAVIYO_CLIENT_SECRET": "canary-secret",
            "REDIS_URL": "redis://:canary-redis@localhost",
            "MAIL_URL": "smtp://user:canary-mail@localhost",
            "MAIL_FROM": "cevoid@example.com",
        }
    )
    assert "canary" not in repr(found)
    assert found.secret_key not in repr(found)
    assert found.token_keys[0] not in repr(found)


def test_a_setting_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://localhost:7777\n")
    assert load({"DATA_DIR": str(tmp_path), "REDIS_URL_FILE": str(tmp_path / "url")}).redis_url == (
        "redis://localhost:7777"
    )


def test_a_command_beside_make_run_finds_the_embedded_valkey(tmp_path: Path) -> None:
    url = valkey.configure(tmp_path)
    assert load({"DATA_DIR": str(tmp_path)}).redis_url == url
    assert (tmp_path / EMBEDDED).stat().st_mode & 0o777 == 0o600
    assert load({"DATA_DIR": str(tmp_path), "REDIS_URL": "redis://localhost"}).redis_url == "redis://localhost"


def test_a_real_app_means_klaviyo_itself(tmp_path: Path) -> None:
    found = load({"DATA_DIR": str(tmp_path), "KLAVIYO_CLIENT_ID": "x", "KLAVIYO_CLIENT_SECRET": "y"})
    assert not found.uses_sandbox
    assert found.klaviyo_api_url == "https://a.klaviyo.com"
    assert not found.all_on_loopback


def test_what_stands_on_another_machine_is_named(tmp_path: Path) -> None:
    environ = {
        "DATA_DIR": str(tmp_path),
        "REDIS_URL": "redis://redis.example.com/0",
        "PUBLIC_URL": "https://example.com",
    }
    assert load(environ).elsewhere == ("PUBLIC_URL", "REDIS_URL")


def test_postgresql_is_spoken_through_psycopg(tmp_path: Path) -> None:
    environ = {"SECRET_KEY": "s" * 16, "TOKEN_KEYS": new_key(), "DATA_DIR": str(tmp_path)}
    found = load({**environ, "DATABASE_URL": "postgresql://someone@db.example.com/cevoid"})
    assert found.database_url.startswith("postgresql+psycopg://someone@")
    assert not found.all_on_loopback


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"PORT": "eight"}, "PORT"),
        ({"TRUSTED_PROXIES": "-1"}, "TRUSTED_PROXIES"),
        ({"TRUSTED_PROXIES": "10.0.0.1"}, "TRUSTED_PROXIES"),
        ({"SANDBOX_PORT": "70000"}, "SANDBOX_PORT"),
        ({"PUBLIC_URL": "ftp://here"}, "PUBLIC_URL"),
        ({"KLAVIYO_CLIENT_ID": "x"}, "KLAVIYO_CLIENT_SECRET"),
        ({"KLAVIYO_CLIENT_SECRET": "y"}, "KLAVIYO_CLIENT_ID"),
        ({"KLAVIYO_API_URL": "nowhere"}, "KLAVIYO_API_URL"),
        ({"DATABASE_URL": "mysql://localhost/x"}, "DATABASE_URL"),
        ({"DATABASE_URL": "sqlite://"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://localhost/x"}, "SECRET_KEY"),
        ({"DATABASE_URL": "postgresql://localhost/x", "SECRET_KEY": "s" * 20}, "TOKEN_KEYS"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY"),
        ({"TOKEN_KEYS": "short"}, "TOKEN_KEYS"),
        ({"SECRET_KEY_FALLBACKS": f"{'s' * 16},short"}, "SECRET_KEY_FALLBACKS"),
        ({"SECRET_KEY_FALLBACKS": "one secret key with spaces in it"}, "SECRET_KEY_FALLBACKS"),
        ({"REDIS_URL": "http://localhost"}, "REDIS_URL"),
        ({"PORT": "80²"}, "PORT"),
        ({"SANDBOX_PORT": "65536"}, "SANDBOX_PORT"),
        ({"MAIL_URL": "smtp://localhost"}, "MAIL_FROM"),
        ({"REDIS_URL_FILE": "/nowhere/at/all"}, "REDIS_URL_FILE"),
        ({"KLAVIYO_CLIENT_ID_FILE": "/dev/null"}, "KLAVIYO_CLIENT_ID_FILE"),
        ({"REDIS_URL": "redis://localhost:many/0"}, "REDIS_URL"),
        ({"REDIS_URL": "redis://localhost:6379/abc"}, "REDIS_URL"),
        ({"REDIS_URL": "redis://localhost/1/2"}, "REDIS_URL"),
        ({"REDIS_URL": "redis://localhost/-1"}, "REDIS_URL"),
        ({"REDIS_URL": "redis://localhost?db=one"}, "REDIS_URL"),
        ({"REDIS_URL": "unix:///run/valkey.sock?db="}, "REDIS_URL"),
        ({"REDIS_URL": "unix://valkey.sock"}, "REDIS_URL"),
        ({"REDIS_URL": "unix:/run/valkey.sock"}, "REDIS_URL"),
        ({"PUBLIC_URL": "http://127.0.0.1:many"}, "PUBLIC_URL"),
        ({"PUBLIC_URL": "https://example.com/cevoid"}, "PUBLIC_URL"),
        ({"PUBLIC_URL": "https://example.com?from=here"}, "PUBLIC_URL"),
        ({"DATABASE_URL": "postgresql://someone@host:many/x"}, "DATABASE_URL"),
        ({"MAIL_URL": "http://localhost", "MAIL_FROM": "cevoid@example.com"}, "MAIL_URL"),
        ({"MAIL_URL": "smtp://localhost", "MAIL_FROM": "nobody"}, "MAIL_FROM"),
        ({"REDIS_URL": "redis://x", "REDIS_URL_FILE": "/nowhere"}, "REDIS_URL_FILE"),
    ],
)
def test_a_wrong_setting_is_one_sentence_that_names_it(tmp_path: Path, environ: dict[str, str], named: str) -> None:
    with pytest.raises(WrongSetting) as caught:
        load({"DATA_DIR": str(tmp_path), **environ})
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_directory_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WrongSetting, match="DATA_DIR"):
        load({"DATA_DIR": str(tmp_path / "file" / "inside")})


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://localhost:6379/",
        "redis://localhost:6379/0/",
        "redis://:secret@localhost:6379/15",
        "rediss://redis.example.com/2?ssl_cert_reqs=none",
        "redis://localhost?db=3",
        "unix:///run/valkey.sock",
        "unix://someone:secret@/run/valkey.sock?db=2",
    ],
)
def test_every_way_to_name_redis(tmp_path: Path, url: str) -> None:
    assert load({"DATA_DIR": str(tmp_path), "REDIS_URL": url}).redis_url == url


def test_keys_of_before_may_be_several(tmp_path: Path) -> None:
    keys = ("s" * 16, "t" * 40)
    for text in (",".join(keys), " ".join(keys), ", ".join(keys)):
        assert load({"DATA_DIR": str(tmp_path), "SECRET_KEY_FALLBACKS": text}).secret_key_fallbacks == keys


def test_a_scheme_in_capitals_is_https_all_the_same(tmp_path: Path) -> None:
    assert load({"DATA_DIR": str(tmp_path), "PUBLIC_URL": "HTTPS://example.com"}).is_https
