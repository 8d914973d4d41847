"""Mails about incidents: each is sent by one process, and one that is refused never stands before the others."""

from __future__ import annotations

from datetime import datetime

from webapp import log
from webapp.extensions import settings
from webapp.services import alerts, mail


def send_due(now: datetime) -> None:
    """Tell owners by mail, where mail is set up. What could not be sent is tried again."""
    values = settings()
    if not values.mail_url:
        return
    for letter in alerts.letters(values.public_url, now):
        if not alerts.claim(letter):
            continue
        if letter.to:
            try:
                mail.send(values, letter.to, letter.subject, letter.text)
            except mail.MailProblem as problem:
                log.get("letters").warning("mail not sent", why=str(problem), alert=letter.alert_id)
                if problem.is_away:
                    alerts.unclaim(letter)
                    return
                continue
        alerts.mailed(letter)
