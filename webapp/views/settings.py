"""A workspace's own things: its stores, members and ingest keys. Owners change them, support agents look."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.extensions import settings
from webapp.forms import settings as forms
from webapp.forms.invalid import Invalid
from webapp.http.access import workspace_access
from webapp.http.errors import or_404
from webapp.models import Role
from webapp.services.workspaces import ingest_keys, invitations, members, stores
from webapp.views.connections import EVERYBODY

BASE = "/w/<workspace>/settings"
ROLES = {
    Role.OWNER: ("Owner", "changes everything in this workspace"),
    Role.SUPPORT: ("Support", "looks, retries and pauses; changes nothing else"),
}
GAVE_UP = "You look and retry here from now on, no more; another owner can change that back."
NEVER_TYPED_BACK = {"csrf_token", "password"}
blueprint = Blueprint("settings", __name__, url_prefix=BASE)


@blueprint.get("")
@workspace_access(*EVERYBODY)
def index() -> ResponseReturnValue:
    """All of it on one page; `?edit=store-7` or `?edit=member-7` opens that row for changing."""
    return _page(edited=request.args.get("edit", ""))


def _page(status: int = 200, **more: Any) -> ResponseReturnValue:
    context = {"edited": "", "problems": {}, "typed": {}, **more}
    page = render_template(
        "settings/index.html",
        stores=stores.of(g.workspace.id),
        connections=stores.connected(g.workspace.id),
        members=members.of(g.workspace.id),
        keys=ingest_keys.of(g.workspace.id),
        roles=ROLES,
        **context,
    )
    return page, status


def _again(invalid: Invalid, part: str, edited: str = "") -> ResponseReturnValue:
    """The page with what was typed and what is wrong with it; fields go by their ids, `<part>-<name>`."""
    typed = {f"{part}-{name}": text for name, text in request.form.items() if name not in NEVER_TYPED_BACK}
    problems = {f"{part}-{name}": sentence for name, sentence in invalid.problems.items()}
    return _page(422, edited=edited, problems=problems, typed=typed)


def _back(anchor: str) -> ResponseReturnValue:
    return redirect(url_for("settings.index", _anchor=anchor), 303)


@blueprint.post("/stores")
@workspace_access(Role.OWNER)
def add_store() -> ResponseReturnValue:
    """Add a store."""
    try:
        made = forms.new_store(request.form)
        stores.add(g.workspace.id, made.external_id, made.name, g.user.id)
    except Invalid as invalid:
        return _again(invalid, "new-store")
    flash(f"{made.name} is added. Its activities are taken from now on.")
    return _back("stores")


@blueprint.post("/stores/<int:store_id>")
@workspace_access(Role.OWNER)
def rename_store(store_id: int) -> ResponseReturnValue:
    """Give a store another name."""
    row = f"store-{store_id}"
    try:
        stores.rename(g.workspace.id, store_id, forms.store_name(request.form), g.user.id)
    except LookupError:
        abort(404)
    except Invalid as invalid:
        return _again(invalid, row, edited=row)
    flash("Saved.")
    return _back(row)


@blueprint.post("/members")
@workspace_access(Role.OWNER)
def add_member() -> ResponseReturnValue:
    """Add somebody; a password made here, or the link to join by, is shown on this answer and never again."""
    try:
        typed = forms.new_member(request.form)
        added = members.add(g.workspace.id, typed.email, Role(typed.role), typed.password, g.user.id)
    except Invalid as invalid:
        return _again(invalid, "new-member")
    if not added.is_new:
        return _invited(added, Role(typed.role))
    if added.password:
        return render_template("settings/password.html", added=added, sign_in_url=f"{settings().public_url}/sign-in")
    flash(f"{added.email} is a member. They sign in with what you typed.")
    return _back("members")


def _invited(added: members.Added, role: Role) -> ResponseReturnValue:
    token = invitations.make(g.workspace.id, added.user_id, role, g.user.id)
    link = f"{settings().public_url}{url_for('joining.show', token=token)}"
    return render_template("settings/invited.html", email=added.email, link=link)


@blueprint.post("/members/<int:user_id>")
@workspace_access(Role.OWNER)
def change_role(user_id: int) -> ResponseReturnValue:
    """Give a member another role."""
    row = f"member-{user_id}"
    try:
        members.change_role(g.workspace.id, user_id, Role(forms.role(request.form)), g.user.id)
    except LookupError:
        abort(404)
    except Invalid as invalid:
        return _again(invalid, row, edited=row)
    gave_up = user_id == g.user.id and g.role is Role.OWNER and request.form["role"] == Role.SUPPORT
    flash(
        "Saved. You only look and retry here from now on; another owner can change that back." if gave_up else "Saved."
    )
    return _back(row)


@blueprint.get("/members/<int:user_id>/remove")
@workspace_access(Role.OWNER)
def confirm_removal(user_id: int) -> ResponseReturnValue:
    """Say what removing somebody means before it is done."""
    return _confirm_removal(user_id)


def _confirm_removal(user_id: int, status: int = 200) -> ResponseReturnValue:
    member = or_404(members.one(g.workspace.id, user_id))
    return render_template("settings/remove.html", member=member, refusal=members.LAST_OWNER), status


@blueprint.post("/members/<int:user_id>/remove")
@workspace_access(Role.OWNER)
def remove_member(user_id: int) -> ResponseReturnValue:
    """End a membership."""
    try:
        members.remove(g.workspace.id, user_id, g.user.id)
    except LookupError:
        abort(404)
    except Invalid:
        return _confirm_removal(user_id, 422)
    flash("Removed. That person sees this workspace no longer.")
    return redirect(url_for("home.index"), 303) if user_id == g.user.id else _back("members")


@blueprint.post("/ingest-keys")
@workspace_access(Role.OWNER)
def create_key() -> ResponseReturnValue:
    """Make a key; it is shown on this answer and never again."""
    try:
        name = forms.key_name(request.form)
        key = ingest_keys.create(g.workspace.id, name, g.user.id, needs_new_name=True)
    except Invalid as invalid:
        return _again(invalid, "new-key")
    return render_template("settings/key.html", name=name, key=key, api=f"{settings().public_url}/api/v1")


@blueprint.get("/ingest-keys/<int:key_id>/revoke")
@workspace_access(Role.OWNER)
def confirm_revocation(key_id: int) -> ResponseReturnValue:
    """Say what revoking a key means before it is done."""
    key = or_404(ingest_keys.one(g.workspace.id, key_id))
    return render_template("settings/revoke.html", key=key)


@blueprint.post("/ingest-keys/<int:key_id>/revoke")
@workspace_access(Role.OWNER)
def revoke_key(key_id: int) -> ResponseReturnValue:
    """End a key at once."""
    if not ingest_keys.revoke(g.workspace.id, key_id, g.user.id):
        abort(404)
    flash("The key is revoked. Calls with it are refused from now on.")
    return _back("ingest-keys")
