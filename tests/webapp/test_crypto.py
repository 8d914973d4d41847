"""What crypto promises: bound to row, field and key; any listed key opens; nothing leaks."""

from __future__ import annotations

import pytest

from webapp.crypto import CannotDecrypt, KeyRing, digest, key_id_of, new_key, new_secret


def test_what_was_encrypted_comes_back() -> None:
    ring = KeyRing([new_key()])
    sealed = ring.encrypt("a token", row="grant:1", field="access_token")
    assert "a token" not in sealed
    assert ring.decrypt(sealed, row="grant:1", field="access_token") == "a token"


def test_the_same_text_never_looks_the_same() -> None:
    ring = KeyRing([new_key()])
    assert ring.encrypt("x", row="r", field="f") != ring.encrypt("x", row="r", field="f")


@pytest.mark.parametrize(("row", "field"), [("grant:2", "access_token"), ("grant:1", "refresh_token")])
def test_a_ciphertext_moved_to_another_place_does_not_open(row: str, field: str) -> None:
    ring = KeyRing([new_key()])
    sealed = ring.encrypt("a token", row="grant:1", field="access_token")
    with pytest.raises(CannotDecrypt) as caught:
        ring.decrypt(sealed, row=row, field=field)
    assert sealed not in str(caught.value)


def test_older_keys_still_open_and_the_newest_seals() -> None:
    old, new = new_key(), new_key()
    sealed = KeyRing([old]).encrypt("a token", row="r", field="f")
    both = KeyRing([new, old])
    assert both.decrypt(sealed, row="r", field="f") == "a token"
    assert key_id_of(both.encrypt("b", row="r", field="f")) == both.newest_id != key_id_of(sealed)
    with pytest.raises(CannotDecrypt):
        KeyRing([new]).decrypt(sealed, row="r", field="f")


@pytest.mark.parametrize("text", ["", "v1", "v1.abc", "v2.aaaa.bbbb", "v1.ffffffff.!!!!"])
def test_what_is_no_ciphertext_does_not_open(text: str) -> None:
    with pytest.raises(CannotDecrypt):
        KeyRing([new_key()]).decrypt(text, row="r", field="f")


@pytest.mark.parametrize("keys", [[], ["short"], ["!" * 44]])
def test_wrong_keys_are_refused(keys: list[str]) -> None:
    with pytest.raises(ValueError, match="key"):
        KeyRing(keys)


def test_secrets_are_long_and_different_and_hash_to_hex() -> None:
    first, second = new_secret(), new_secret()
    assert first != second
    assert len(first) >= 43
    assert len(digest(first)) == 64
    assert digest(first) != digest(second)
