"""Joining a workspace one was asked into."""

from __future__ import annotations

from flask import Blueprint, flash, g, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from webapp.http.access import signed_in
from webapp.services.workspaces import invitations

blueprint = Blueprint("joining", __name__, url_prefix="/join/<token>")


@blueprint.get("")
@signed_in
def show(token: str) -> ResponseReturnValue:
    """What one is asked into, and what has to be done before."""
    invitation = invitations.read(token, g.user)
    ready = invitation is not None and invitations.has_own_password(g.user)
    page = render_template("joining/show.html", invitation=invitation, ready=ready, token=token)
    return page, 200 if invitation else 404


@blueprint.post("")
@signed_in
def join(token: str) -> ResponseReturnValue:
    """Accept."""
    if not invitations.has_own_password(g.user):
        return redirect(url_for("joining.show", token=token), 303)
    invitation = invitations.accept(token, g.user)
    if invitation is None:
        return redirect(url_for("joining.show", token=token), 303)
    flash(f"You are a member of {invitation.name}.")
    return redirect(url_for("connections.index", workspace=invitation.slug), 303)
