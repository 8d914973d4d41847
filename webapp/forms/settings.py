"""The forms of the settings pages: text as typed to values, or Invalid with a sentence for each field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from email_validator import EmailNotValidError, validate_email

from webapp.forms.invalid import Invalid

NAME = 120
STORE_NAME = 200
EXTERNAL_ID = 200
EMAIL = 254
PASSWORD_SHORTEST = 10
PASSWORD_LONGEST = 200
ROLES = ("owner", "support")


@dataclass(frozen=True, slots=True)
class NewStore:
    """A store to add."""

    external_id: str
    name: str


@dataclass(frozen=True, slots=True)
class NewMember:
    """Somebody to add. `password` None: one is made, if they are new here."""

    email: str
    role: str
    password: str | None = field(repr=False)


def new_store(form: Mapping[str, str]) -> NewStore:
    """`external_id` and `name`. Raises Invalid."""
    external_id, name = _text(form, "external_id"), _text(form, "name")
    problems = {
        "external_id": _line_problem(external_id, EXTERNAL_ID, "Type the id the platform posts for this store."),
        "name": _line_problem(name, STORE_NAME, "Give the store a name."),
    }
    _refuse(problems)
    return NewStore(external_id, name)


def store_name(form: Mapping[str, str]) -> str:
    """`name` of a store. Raises Invalid."""
    name = _text(form, "name")
    _refuse({"name": _line_problem(name, STORE_NAME, "Give the store a name.")})
    return name


def key_name(form: Mapping[str, str]) -> str:
    """`name` of an ingest key. Raises Invalid."""
    name = _text(form, "name")
    _refuse({"name": _line_problem(name, NAME, "Say who will use this key, such as: shop server.")})
    return name


def new_member(form: Mapping[str, str]) -> NewMember:
    """`email`, `role` and an optional `password`. Raises Invalid."""
    email, password = _text(form, "email").lower(), form.get("password", "")
    problems = {
        "email": _email_problem(email),
        "role": _role_problem(form.get("role", "")),
        "password": password_problem(password) if password else None,
    }
    _refuse(problems)
    return NewMember(email, form["role"], password or None)


def role(form: Mapping[str, str]) -> str:
    """`role`: a word of ROLES. Raises Invalid."""
    _refuse({"role": _role_problem(form.get("role", ""))})
    return form["role"]


@dataclass(frozen=True, slots=True, repr=False)
class PasswordChange:
    """The password of now and the one to come."""

    current: str
    new: str


def password_change(form: Mapping[str, str]) -> PasswordChange:
    """`current`, `new` and `again`. Raises Invalid."""
    current, new = form.get("current", ""), form.get("new", "")
    problems = {
        "current": None if current else "Type the password you sign in with now.",
        "new": password_problem(new) or ("Choose another one than now." if new == current else None),
        "again": None if form.get("again", "") == new else "The two new passwords are not the same.",
    }
    _refuse(problems)
    return PasswordChange(current, new)


def password_problem(password: str) -> str | None:
    """What is wrong with a password to come; None where nothing is."""
    if len(password) < PASSWORD_SHORTEST:
        return f"A password has {PASSWORD_SHORTEST} characters or more. A few words in a row are fine."
    if len(password) > PASSWORD_LONGEST:
        return f"A password has up to {PASSWORD_LONGEST} characters."
    return None


def is_line(text: str, longest: int) -> bool:
    """Whether `text` is one line of 1 to `longest` printable characters, which every database can keep."""
    return 0 < len(text) <= longest and text.isprintable() and bool(text.strip())


def _text(form: Mapping[str, str], name: str) -> str:
    return form.get(name, "").strip()


def _line_problem(text: str, longest: int, when_empty: str) -> str | None:
    if not text:
        return when_empty
    return None if is_line(text, longest) else f"One line of up to {longest} characters, please."


def _email_problem(email: str) -> str | None:
    try:
        validate_email(email, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        return "Type a whole e-mail address, such as ada@example.com."
    return None if len(email) <= EMAIL else f"An address has up to {EMAIL} characters."


def _role_problem(text: str) -> str | None:
    return None if text in ROLES else "Choose a role."


def _refuse(problems: Mapping[str, str | None]) -> None:
    found = {name: sentence for name, sentence in problems.items() if sentence}
    if found:
        raise Invalid(found)
