"""Encryption of what must be read back (tokens, PKCE verifiers) and hashing of what must not (keys, cookies).

AES-256-GCM with associated data: a ciphertext is bound to its row, its field and its key, so that a writer to the
database cannot move one row's token into another row. Keys come from the `TOKEN_KEYS` setting, newest first.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12
KEY_BYTES = 32


class CannotDecrypt(Exception):
    """The ciphertext was made with a key we do not have, or for another row or field. Never holds the text."""


def new_key() -> str:
    """A fresh encryption key: 32 random bytes, URL-safe base64."""
    return base64.urlsafe_b64encode(os.urandom(KEY_BYTES)).decode()


def new_secret() -> str:
    """A fresh 256-bit secret for cookies, states and ingest keys, URL-safe."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """SHA-256 in hex. For secrets of high entropy only; passwords go through argon2."""
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Key:
    id: str
    cipher: AESGCM


def _parse_key(text: str) -> _Key:
    try:
        raw = base64.urlsafe_b64decode(text.encode())
    except ValueError:
        raise ValueError("a key must be 32 bytes in URL-safe base64") from None
    if len(raw) != KEY_BYTES:
        raise ValueError("a key must be 32 bytes in URL-safe base64")
    return _Key(id=hashlib.sha256(raw).hexdigest()[:8], cipher=AESGCM(raw))


class KeyRing:
    """Encrypts with the newest key, decrypts with any of them."""

    def __init__(self, keys: Sequence[str]) -> None:
        """`keys`: newest first, each as `new_key` makes them. Raises ValueError for a malformed or missing one."""
        if not keys:
            raise ValueError("at least one key is needed")
        self._keys = [_parse_key(key) for key in keys]
        self._by_id = {key.id: key for key in self._keys}

    @property
    def newest_id(self) -> str:
        """The id of the key new ciphertexts are made with: 8 hex digits."""
        return self._keys[0].id

    def encrypt(self, plaintext: str, *, row: str, field: str) -> str:
        """`v1.<key id>.<base64 of nonce and ciphertext>`, bound to `row` (such as `grant:17`) and `field`."""
        key = self._keys[0]
        nonce = os.urandom(NONCE_BYTES)
        sealed = key.cipher.encrypt(nonce, plaintext.encode(), _bound_to(row, field, key.id))
        return f"v1.{key.id}.{base64.urlsafe_b64encode(nonce + sealed).decode()}"

    def decrypt(self, ciphertext: str, *, row: str, field: str) -> str:
        """The plaintext. Raises CannotDecrypt for another row's, another field's or another key's ciphertext."""
        try:
            version, key_id, body = ciphertext.split(".", 2)
            key = self._by_id[key_id]
            if version != "v1":
                raise CannotDecrypt("unknown version of ciphertext")
            blob = base64.urlsafe_b64decode(body.encode())
            opened = key.cipher.decrypt(blob[:NONCE_BYTES], blob[NONCE_BYTES:], _bound_to(row, field, key_id))
        except (InvalidTag, KeyError, ValueError):
            raise CannotDecrypt("this ciphertext cannot be opened with the keys in TOKEN_KEYS") from None
        return opened.decode()


def key_id_of(ciphertext: str) -> str:
    """The id of the key a ciphertext was made with, for `rotate-keys`."""
    return ciphertext.split(".", 2)[1]


def _bound_to(row: str, field: str, key_id: str) -> bytes:
    return f"{row}:{field}:{key_id}".encode()
