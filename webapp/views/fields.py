"""Which fields of a person are written to Klaviyo, and the workspace's own ones."""

from __future__ import annotations

from flask import Blueprint, abort, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.catalogue.fields import PREFIX, Field
from webapp.catalogue.values import CUSTOM_TYPES
from webapp.forms import custom_properties as form
from webapp.forms.invalid import Invalid
from webapp.http.access import workspace_access
from webapp.http.errors import NO_CHOICE, answer, or_404
from webapp.models import CustomProperty, Role
from webapp.services.sharing import backfills, choices, custom_properties
from webapp.views.connections import BASE, EVERYBODY

# Web servers refuse a longer one with a page of their own. Beyond it a save is told without its undo.
ADDRESS = 3_000
blueprint = Blueprint("fields", __name__, url_prefix=f"{BASE}/profile-data")


@blueprint.get("")
@workspace_access(*EVERYBODY)
def index() -> ResponseReturnValue:
    """Every field with its Klaviyo property, and whether it is on.

    After a save, what it turned on can be brought to everybody, and the save undone (`?turned_on=`, `?turned_off=`).
    """
    known, on = choices.fields(g.workspace.id)
    keys = request.args.getlist("turned_on")
    turned_on = [known[key] for key in keys if key in on]
    turned_off = {key for key in request.args.getlist("turned_off") if key in known and not known[key].retired}
    return render_template(
        "fields/index.html",
        default=[field for field in known.values() if field.custom_id is None],
        custom=[field for field in known.values() if field.custom_id is not None and not field.retired],
        retired=[field for field in known.values() if field.retired],
        on=on,
        types=CUSTOM_TYPES,
        turned_on=turned_on,
        undone=choices.undone(on, keys, turned_off),
        connections=backfills.targets(g.workspace.id) if turned_on else [],
    )


@blueprint.post("")
@workspace_access(Role.OWNER)
def save() -> ResponseReturnValue:
    """Save the choice, or turn on what is recommended beside it."""
    known, on = choices.fields(g.workspace.id)
    wanted, shown = set(request.form.getlist("field")), None
    if "complete" in request.form:
        shown = set(request.form.getlist("shown"))
    elif not wanted <= set(known):
        abort(422)  # taken for a choice, it would turn off what it does not name
    elif not wanted and "recommended" not in request.form:
        return answer(422, NO_CHOICE)  # likewise, all there is
    if "recommended" in request.form:
        wanted |= (on if shown is None else set()) | choices.recommended_fields()
    change = choices.choose_fields(g.workspace.id, g.user.id, wanted, shown=shown)
    flash(change.sentence({key: _name(field) for key, field in known.items()}))
    changed = url_for("fields.index", turned_on=change.on or None, turned_off=change.off or None)
    return redirect(changed if len(changed) <= ADDRESS else url_for("fields.index"), 303)


def _name(field: Field) -> str:
    return field.property.removeprefix(PREFIX)


def _form(status: int, problems: dict[str, str], typed: dict[str, str]) -> ResponseReturnValue:
    page = render_template("fields/new.html", problems=problems, typed=typed, types=CUSTOM_TYPES, prefix=PREFIX)
    return page, status


@blueprint.get("/properties/new")
@workspace_access(Role.OWNER)
def new() -> ResponseReturnValue:
    """The form of a custom property."""
    return _form(200, {}, {})


@blueprint.post("/properties")
@workspace_access(Role.OWNER)
def create() -> ResponseReturnValue:
    """Create it; it is off until turned on."""
    typed = request.form.to_dict()
    try:
        made = custom_properties.create(g.workspace.id, g.user.id, form.parse(typed))
    except Invalid as invalid:
        return _form(422, invalid.problems, typed)
    flash(f"{PREFIX}{made.label} is created. It is off until you turn it on and save.")
    return redirect(url_for("fields.index"), 303)


def _own(property_id: int) -> CustomProperty:
    return or_404(custom_properties.get(g.workspace.id, property_id))


@blueprint.get("/properties/<int:property_id>/retire")
@workspace_access(Role.OWNER)
def confirm_retire(property_id: int) -> ResponseReturnValue:
    """Say what retiring means before it is done."""
    return render_template("fields/retire.html", property=_own(property_id), prefix=PREFIX)


@blueprint.post("/properties/<int:property_id>/retire")
@workspace_access(Role.OWNER)
def retire(property_id: int) -> ResponseReturnValue:
    """Retire it."""
    found = _own(property_id)
    custom_properties.retire(g.workspace.id, property_id, g.user.id)
    flash(f"{PREFIX}{found.label} is retired.")
    return redirect(url_for("fields.index"), 303)
