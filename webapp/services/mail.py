"""Plain mails by SMTP. `MAIL_URL`: smtp://, smtp+tls:// (STARTTLS) or smtps://, with user and password if needed."""

from __future__ import annotations

import smtplib
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

from webapp.settings import Settings

SECONDS = 10
PORTS = {"smtp": 25, "smtp+tls": 587, "smtps": 465}


class MailProblem(Exception):
    """The mail was not taken; it may be tried again."""


def send(settings: Settings, to: tuple[str, ...], subject: str, text: str) -> None:
    """Send one mail to everybody in `to`. Raises MailProblem."""
    parts = urlsplit(settings.mail_url or "")
    port = parts.port or PORTS.get(parts.scheme, 25)
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = settings.mail_from or "", ", ".join(to), subject
    message.set_content(text)
    kind = smtplib.SMTP_SSL if parts.scheme == "smtps" else smtplib.SMTP
    try:
        with kind(parts.hostname or "", port, timeout=SECONDS) as server:
            if parts.scheme == "smtp+tls":
                server.starttls()
            if parts.username:
                server.login(unquote(parts.username), unquote(parts.password or ""))
            server.send_message(message)
    except (smtplib.SMTPException, OSError) as problem:
        raise MailProblem(type(problem).__name__) from problem
