"""Which events are sent to Klaviyo, and trying one."""

from __future__ import annotations

from flask import Blueprint, abort, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.catalogue.events import COMMON, EVENTS, GROUPS
from webapp.forms.invalid import Invalid
from webapp.forms.numbers import row_id
from webapp.http.access import workspace_access
from webapp.http.errors import NO_CHOICE, answer, or_404
from webapp.http.pages import region
from webapp.models import Role
from webapp.services.sharing import choices, trials
from webapp.views.connections import BASE, EVERYBODY

blueprint = Blueprint("events", __name__, url_prefix=f"{BASE}/events")


@blueprint.get("")
@workspace_access(*EVERYBODY)
def index() -> ResponseReturnValue:
    """Every event with what it is for, when it fires and what Klaviyo receives, and whether it is on.

    After a save, what it changed (`?turned_on=`, `?turned_off=`) can be undone.
    """
    since = choices.events_since(g.workspace.id)
    turned_on, turned_off = request.args.getlist("turned_on"), request.args.getlist("turned_off")
    return render_template(
        "events/index.html",
        groups={title: [event for event in EVENTS.values() if event.group == group] for group, title in GROUPS.items()},
        since=since,
        undone=choices.undone(since, turned_on, set(turned_off) & set(EVENTS)),
        samples=choices.samples(g.workspace.id),
        common=COMMON,
        total=len(EVENTS),
    )


@blueprint.post("")
@workspace_access(Role.OWNER)
def save() -> ResponseReturnValue:
    """Save the choice, or turn on what is recommended beside it."""
    wanted, shown = set(request.form.getlist("event")), None
    if "complete" in request.form:
        shown = set(request.form.getlist("shown"))
    elif not wanted <= set(EVENTS):
        abort(422)  # taken for a choice, it would turn off what it does not name
    elif not wanted and "recommended" not in request.form:
        return answer(422, NO_CHOICE)  # likewise, all there is
    if "recommended" in request.form:
        before = choices.events_on(g.workspace.id) if shown is None else set()
        wanted |= before | choices.recommended_events()
    change = choices.choose_events(g.workspace.id, g.user.id, wanted, shown=shown)
    flash(change.sentence({event.key: event.title for event in EVENTS.values()}))
    changed = url_for("events.index", turned_on=change.on or None, turned_off=change.off or None)
    return redirect(changed, 303)


def _test_form(status: int, problems: dict[str, str], typed: dict[str, str]) -> ResponseReturnValue:
    connections = trials.targets(g.workspace.id)
    page = render_template(
        "events/test.html", connections=connections, events=EVENTS.values(), problems=problems, typed=typed
    )
    return page, status


@blueprint.get("/test")
@workspace_access(Role.OWNER)
def new_test() -> ResponseReturnValue:
    """Choose the account, the event and the person; `?event=` and `?connection=` choose beforehand."""
    return _test_form(200, {}, request.args.to_dict())


@blueprint.post("/test")
@workspace_access(Role.OWNER)
def send_test() -> ResponseReturnValue:
    """Send it, then watch what comes of it."""
    typed = request.form.to_dict()
    try:
        activity_id = trials.send(
            g.workspace.id,
            g.user.id,
            connection_id=row_id(typed.get("connection", "")),
            event=typed.get("event", ""),
            email=typed.get("email", ""),
            starts_flows="starts_flows" in typed,
        )
    except Invalid as invalid:
        return _test_form(422, invalid.problems, typed)
    return redirect(url_for("events.show_test", activity_id=activity_id), 303)


@blueprint.get("/tests/<int:activity_id>")
@workspace_access(*EVERYBODY)
def show_test(activity_id: int) -> ResponseReturnValue:
    """What came of a test event; its region keeps itself current."""
    sent = or_404(trials.outcome(g.workspace.id, activity_id))
    return region("events/sent.html", "outcome", sent=sent)
