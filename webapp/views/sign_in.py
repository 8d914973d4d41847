"""Signing in and out, and a person's own sessions."""

from __future__ import annotations

from flask import Blueprint, flash, g, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from werkzeug import Response

from webapp.extensions import settings
from webapp.forms.invalid import Invalid
from webapp.forms.settings import password_change
from webapp.http.access import public, safe_next, signed_in
from webapp.services.workspaces import sessions, users

blueprint = Blueprint("sign_in", __name__)


@blueprint.get("/sign-in")
@public
def form() -> ResponseReturnValue:
    """The form; somebody signed in goes on."""
    if g.user is not None:
        return redirect(safe_next(request.args.get("next")) or url_for("home.index"), 303)
    return render_template("sign_in/form.html", email="", problem=None, next=request.args.get("next"))


@blueprint.post("/sign-in")
@public
def submit() -> ResponseReturnValue:
    """Check the pair and begin a session."""
    email = request.form.get("email", "").strip().lower()
    wanted = safe_next(request.form.get("next"))
    try:
        user = users.sign_in(email, request.form.get("password", ""), request.remote_addr or "")
    except users.TooManyTries as refusal:
        sentence = f"Too many tries. Wait {refusal.seconds} seconds, then try again."
        return _again(email, sentence, wanted, 429)
    if user is None:
        return _again(email, "This address and password do not belong together.", wanted, 422)
    session.clear()  # a forms' token that somebody planted before is worth nothing after
    response = redirect(wanted or url_for("home.index"), 303)
    return _remembering(response, sessions.begin(user, request.user_agent.string))


def _remembering(response: Response, token: str) -> Response:
    """The answer with the session's cookie."""
    secure = settings().is_https
    response.set_cookie(
        sessions.cookie_name(secure=secure),
        token,
        max_age=int(sessions.ABSOLUTE.total_seconds()),
        secure=secure,
        httponly=True,
        samesite="Lax",
    )
    return response


def _again(email: str, problem: str, wanted: str | None, status: int) -> ResponseReturnValue:
    return render_template("sign_in/form.html", email=email, problem=problem, next=wanted), status


@blueprint.post("/sign-out")
@signed_in
def sign_out() -> ResponseReturnValue:
    """End this session."""
    sessions.end(g.session_row.id, g.user.id)
    session.clear()
    response = redirect(url_for("sign_in.form"), 303)
    secure = settings().is_https
    response.delete_cookie(sessions.cookie_name(secure=secure), secure=secure)
    return response


@blueprint.get("/account")
@signed_in
def account() -> ResponseReturnValue:
    """Who one is, and where one is signed in."""
    return _account({})


def _account(problems: dict[str, str], status: int = 200) -> ResponseReturnValue:
    living = sessions.living(g.user.id)
    shown = {f"password-{name}": sentence for name, sentence in problems.items()}
    page = render_template("sign_in/account.html", sessions=living, current=g.session_row.id, problems=shown)
    return page, status


@blueprint.post("/account/password")
@signed_in
def change_password() -> ResponseReturnValue:
    """Set another password; every other browser is signed out."""
    try:
        typed = password_change(request.form)
        address = request.remote_addr or ""
        token, ended = users.change_password(g.user, g.session_row.id, typed.current, typed.new, address)
    except Invalid as invalid:
        return _account(invalid.problems, 422)
    except users.TooManyTries as refusal:
        return _account({"current": f"Too many tries. Wait {refusal.seconds} seconds, then try again."}, 429)
    others = {0: "No other browser was signed in.", 1: "1 other browser is signed out."}
    flash(f"Your password is changed. {others.get(ended, f'{ended} other browsers are signed out.')}")
    return _remembering(redirect(url_for("sign_in.account"), 303), token)


@blueprint.post("/account/sessions/<int:session_id>/end")
@signed_in
def end_session(session_id: int) -> ResponseReturnValue:
    """Sign another browser of one's own out."""
    if sessions.end(session_id, g.user.id):
        flash("That browser is signed out.")
    else:
        flash("No browser of yours was signed out: that one is not signed in, or no longer.", "problem")
    return redirect(url_for("sign_in.account"), 303)
