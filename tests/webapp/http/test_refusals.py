"""What is refused before any view: a page says what to do next, a program learns what it may call."""

from __future__ import annotations

import pytest
from flask import Flask
from gunicorn.http.errors import ChunkMissingTerminator, InvalidChunkSize

from tests.webapp.views.pages import HTMX, text_of


def test_an_address_that_only_takes_a_form_says_so(app: Flask) -> None:
    answer = app.test_client().get("/sign-out")
    assert answer.status_code == 405
    assert "Go back to the page with the form" in text_of(answer)
    assert set(answer.headers["Allow"].split(", ")) == {"OPTIONS", "POST"}


def test_no_redirect_leads_to_the_host_that_a_caller_names(app: Flask) -> None:
    answer = app.test_client().get("/w//mine/settings", headers={"Host": "elsewhere.example.com"})
    assert answer.status_code == 404
    assert "Location" not in answer.headers


class BrokenOff:
    """A body as the web server reads it, which ends in a mistake of the caller's."""

    def __init__(self, mistake: Exception) -> None:
        self.mistake = mistake

    def read(self, _size: int = -1) -> bytes:
        raise self.mistake


@pytest.mark.parametrize("mistake", [InvalidChunkSize(b"zz"), ChunkMissingTerminator(b"xx"), ConnectionResetError()])
def test_a_body_that_is_broken_is_the_callers_mistake(
    app: Flask, mistake: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    chunked = {"wsgi.input_terminated": True, "wsgi.input": BrokenOff(mistake), "HTTP_TRANSFER_ENCODING": "chunked"}
    form = {"content_type": "application/x-www-form-urlencoded", "environ_overrides": chunked}
    answer = app.test_client().post("/sign-in", **form)
    assert answer.status_code == 400
    assert "Traceback" not in capsys.readouterr().err


def test_a_form_from_before_says_how_to_send_it_again(app: Flask) -> None:
    client = app.test_client()
    page = client.post("/sign-in", data={"email": "ada@example.com"})
    assert page.status_code == 400
    assert "Go back, reload the page, then send it again" in text_of(page)
    line = client.post("/sign-in", data={"email": "ada@example.com"}, headers=HTMX)
    assert (line.status_code, line.mimetype) == (400, "text/plain")
    assert "Reload it and try again" in line.text


def test_a_program_learns_what_it_may_call(app: Flask) -> None:
    client = app.test_client()
    unknown = client.get("/api/v1/activity")
    assert (unknown.status_code, unknown.mimetype) == (404, "application/problem+json")
    assert "openapi.json" in unknown.get_json()["detail"]
    other = client.delete("/api/v1/activities")
    assert other.status_code == 405
    assert "Allow header" in other.get_json()["detail"]
    assert "POST" in other.headers["Allow"]
