"""Plain mails by SMTP. `MAIL_URL`: smtp://, smtp+tls:// (STARTTLS) or smtps://, with user and password if needed."""

from __future__ import annotations

import smtplib
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

from webapp.settings import Settings

SECONDS = 10
PORTS = {"smtp": 25, "smtp+tls": 587, "smtps": 465}


class MailProblem(Exception):
    """The mail was not taken; it may be tried again. `is_away`: no mail would be, whatever is in it."""

    def __init__(self, text: str, *, is_away: bool) -> None:
        super().__init__(text)
        self.is_away = is_away


# What speaks of this one mail and not of the server.
OF_ITSELF = (smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError, smtplib.SMTPNotSupportedError, ValueError)


def send(settings: Settings, to: tuple[str, ...], subject: str, text: str) -> None:
    """Send one mail to everybody in `to`. Raises MailProblem."""
    parts = urlsplit(settings.mail_url or "")
    port = parts.port or PORTS.get(parts.scheme, 25)
    kind = smtplib.SMTP_SSL if parts.scheme == "smtps" else smtplib.SMTP
    try:
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = settings.mail_from or "", ", ".join(to), subject
        message.set_content(text)
        with kind(parts.hostname or "", port, timeout=SECONDS) as server:
            if parts.scheme == "smtp+tls":
                server.starttls()
            if parts.username:
                server.login(unquote(parts.username), unquote(parts.password or ""))
            server.send_message(message)
    except (smtplib.SMTPException, OSError, ValueError) as problem:
        raise MailProblem(type(problem).__name__, is_away=not isinstance(problem, OF_ITSELF)) from problem
