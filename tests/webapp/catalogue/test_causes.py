"""The catalogue of causes: whole, in words, and the only reasons a delivery can be given."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, StatementError

from tests.rows import Rows
from webapp.catalogue.causes import BUTTONS, CAUSES, OWNERS_ONLY, RESENDABLE, WHO, Who
from webapp.catalogue.reasons import REASONS, Reason, Status
from webapp.catalogue.words import Kind
from webapp.database import writing

ROOT = Path(__file__).parents[3]


def test_every_reason_has_words_and_a_status() -> None:
    assert set(CAUSES) == set(Reason)
    assert frozenset().union(*REASONS.values()) == set(Reason)
    assert set(WHO) == set(Who)
    for reason, cause in CAUSES.items():
        for sentence in (cause.title, cause.what, cause.remedy):
            assert "_" not in sentence, reason
        assert cause.what.endswith("."), reason
        assert not cause.button or cause.remedy, f"{reason} has a button and no sentence that says why to press it"
        assert not cause.remedy or cause.who is not Who.NOBODY, f"{reason} has a remedy and nobody for it"


REASONED = {reason: status for status, reasons in REASONS.items() for reason in reasons}
SENT_AGAIN_THE_SAME = {
    Kind.EVENT: "Post it corrected under a new id. Sent again it is the same: that helps only where",
    Kind.FIELDS: "Post the person's data corrected under a new id; that goes out by itself. Or turn the field off",
    Kind.CONSENT: "Mend what Klaviyo's words name. A consent is not sent again from here: after that the platform may",
}


@pytest.mark.parametrize("kind", list(Kind))
def test_what_klaviyo_refuses_is_mended_by_its_kind(kind: Kind) -> None:
    """What is stored of an event is sent again as it is; profile data is sent as it is today."""
    told = CAUSES[Reason.REJECTED].of(Status.FAILED, [kind])
    assert told.remedy.startswith(SENT_AGAIN_THE_SAME[kind])
    assert told.resend is (kind is not Kind.CONSENT)
    both = CAUSES[Reason.REJECTED].of(Status.FAILED, [kind, Kind.EVENT])
    assert both.remedy.startswith(SENT_AGAIN_THE_SAME[Kind.EVENT])


def test_a_lost_consent_that_needs_no_mending_is_the_platforms_to_post() -> None:
    for reason, who in {Reason.TOO_MANY_ATTEMPTS: Who.PLATFORM, Reason.SCOPE_MISSING: Who.OWNER}.items():
        assert CAUSES[reason].of(REASONED[reason], [Kind.CONSENT]).who is who


def test_what_waits_is_not_told_to_be_sent_again() -> None:
    for reason in REASONS[Status.WAITING]:
        for kind in Kind:
            told = CAUSES[reason].of(Status.WAITING, [kind])
            assert (told.again, told.resend) == ("", False)


def test_every_cause_that_code_can_give_is_in_the_catalogue() -> None:
    """Reasons are written as `Reason.X` only: the names used in the program are those of the enum, each in words."""
    used: set[str] = set()
    for folder in ("webapp", "jobs"):
        for path in (ROOT / folder).rglob("*.py"):
            used |= set(re.findall(r"\bReason\.([A-Z_]+)\b", path.read_text()))
    assert used <= set(Reason.__members__)
    assert {Reason[name] for name in used} <= set(CAUSES)


def test_only_what_has_ended_undelivered_is_resendable() -> None:
    ended = REASONS[Status.FAILED] | REASONS[Status.SKIPPED]
    assert ended >= RESENDABLE
    assert REASONS[Status.FAILED] <= RESENDABLE
    assert not RESENDABLE & {Reason.ERASED, Reason.SUPERSEDED, Reason.NEWER_OPT_OUT, Reason.NO_EMAIL}
    assert set(BUTTONS) > OWNERS_ONLY


@pytest.mark.parametrize("word", ["lost", "", "Rejected"])
def test_a_delivery_cannot_be_written_with_another_reason(any_app: Flask, rows: Rows, word: str) -> None:
    workspace = rows.workspace()
    activity = rows.activity(workspace)
    with pytest.raises((StatementError, ValueError)):
        rows.delivery(activity, None, status=Status.FAILED, reason=word)


def test_the_database_itself_refuses_what_is_not_in_the_catalogue(any_app: Flask, rows: Rows) -> None:
    """Also from a statement that knows nothing of our types: every pair of the catalogue, and no other."""
    delivery = rows.delivery(rows.activity(rows.workspace()), None)
    words = [*Reason, "lost", ""]
    for status in [*Status, "gone"]:
        for reason in words:
            known = status in set(Status) and reason in REASONS[Status(status)]
            statement = text("UPDATE deliveries SET status = :status, reason = :reason WHERE id = :id")
            values = {"status": str(status), "reason": str(reason), "id": delivery.id}
            try:
                with writing() as session:
                    session.execute(statement, values)
            except IntegrityError:
                assert not known, (status, reason)
            else:
                assert known, (status, reason)
