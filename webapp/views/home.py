"""The first page: the workspaces one may see, the one that needs help most first."""

from __future__ import annotations

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.forms.numbers import page as page_number
from webapp.http.access import signed_in
from webapp.services.connections import overview

blueprint = Blueprint("home", __name__)


@blueprint.get("/")
@signed_in
def index() -> ResponseReturnValue:
    """One workspace: straight to its connections. Several: a choice, with how each of them is."""
    search, number = request.args.get("search", "").strip()[:100], page_number(request.args.get("page", ""))
    found, total = overview.of(g.user, search, number)
    if total == 1 and not search and not g.user.is_support:
        return redirect(url_for("connections.index", workspace=found[0].workspace.slug), 303)
    pages = max(1, -(-total // overview.PAGE))
    return render_template("home/index.html", found=found, total=total, search=search, page=number, pages=pages)
