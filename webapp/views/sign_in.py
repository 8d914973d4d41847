"""Signing in and out, and a person's own sessions."""

from __future__ import annotations

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.extensions import settings
from webapp.http.access import public, safe_next, signed_in
from webapp.services import sessions, users

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
    response = redirect(wanted or url_for("home.index"), 303)
    secure = settings().is_https
    token = sessions.begin(user, request.user_agent.string)
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
    response = redirect(url_for("sign_in.form"), 303)
    response.delete_cookie(sessions.cookie_name(secure=settings().is_https))
    return response


@blueprint.get("/account")
@signed_in
def account() -> ResponseReturnValue:
    """Who one is, and where one is signed in."""
    return render_template("sign_in/account.html", sessions=sessions.living(g.user.id), current=g.session_row.id)


@blueprint.post("/account/sessions/<int:session_id>/end")
@signed_in
def end_session(session_id: int) -> ResponseReturnValue:
    """Sign another browser of one's own out."""
    sessions.end(session_id, g.user.id)
    flash("That browser is signed out.")
    return redirect(url_for("sign_in.account"), 303)
