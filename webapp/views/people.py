"""Tracing a person: found by their exact address, shown by a number, so that no address stands in a URL we store."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.catalogue.causes import CAUSES
from webapp.catalogue.events import EVENTS
from webapp.forms.numbers import row_id
from webapp.http.access import workspace_access
from webapp.http.errors import or_404
from webapp.http.pages import region
from webapp.models import Person, Role
from webapp.services.deliveries import search as delivery_search
from webapp.services.people import addresses
from webapp.services.people.addresses import mask_all
from webapp.services.tracing import erasures, profile_now, trace
from webapp.views.connections import BASE, EVERYBODY

blueprint = Blueprint("people", __name__, url_prefix=f"{BASE}/people")


@blueprint.get("")
@workspace_access(*EVERYBODY)
def index() -> ResponseReturnValue:
    """The search; with an address in the query it answers like the form."""
    if request.args.get("email"):
        return _search(request.args["email"])
    return render_template("people/index.html", email="", problem=None)


@blueprint.post("")
@workspace_access(*EVERYBODY)
def search() -> ResponseReturnValue:
    """By exact address: 303 to the person's number."""
    return _search(request.form.get("email", ""))


def _search(email: str) -> ResponseReturnValue:
    person_id = trace.by_address(g.workspace.id, email[:320])
    if person_id is not None:
        return redirect(url_for("people.show", person_id=person_id), 303)
    sentence = "Nobody here has exactly this address. Addresses are compared in lower case, without spaces around them."
    problem = sentence if email.strip() else "Type an e-mail address."
    return render_template("people/index.html", email=email.strip()[:320], problem=problem), 422


def _found(person_id: int) -> Person:
    return or_404(trace.get(g.workspace.id, person_id))


@blueprint.get("/<int:person_id>")
@workspace_access(*EVERYBODY)
def show(person_id: int) -> ResponseReturnValue:
    """Everything about one person."""
    return _page(_found(person_id), revealed=False)


@blueprint.post("/<int:person_id>/reveal")
@workspace_access(*EVERYBODY)
def reveal(person_id: int) -> ResponseReturnValue:
    """The same page with addresses in full, written down first. Nothing is kept: the next look is masked again."""
    person = _found(person_id)
    addresses.note_reveal(g.workspace.id, ("person", person.id), g.user.id, f"person {person_id}")
    return _page(person, revealed=True)


def _page(person: Person, *, revealed: bool) -> ResponseReturnValue:
    in_full = revealed or g.role is Role.OWNER
    before = request.args.get("before", "")
    known = trace.known(person)

    def seen(value: Any) -> Any:
        return value if in_full else mask_all(value)

    return region(
        "people/show.html",
        "now",
        known=known,
        nows=profile_now.latest(known),
        steps=trace.steps(person, row_id(before)),
        email=seen(person.email) if person.email else "Erased person",
        in_full=in_full,
        seen=seen,
        causes=CAUSES,
        events=EVENTS,
        accounts=delivery_search.accounts(g.workspace.id),
    )


@blueprint.post("/<int:person_id>/now")
@workspace_access(*EVERYBODY)
def look(person_id: int) -> ResponseReturnValue:
    """Let workers read what Klaviyo has now, in every connected account."""
    person = _found(person_id)
    connections = [connection.id for connection in trace.known(person).live]
    if person.email is None or not connections:
        flash("There is nothing to look up: no account is connected, or the person was erased.", "problem")
    else:
        profile_now.ask(g.workspace.id, person.id, connections, g.user.id)
    return redirect(url_for("people.show", person_id=person_id, _anchor="now"), 303)


@blueprint.get("/<int:person_id>/erase")
@workspace_access(Role.OWNER)
def confirm_erase(person_id: int) -> ResponseReturnValue:
    """Say what erasing removes before it does."""
    person = _found(person_id)
    if person.email is None:
        return redirect(url_for("people.show", person_id=person_id), 303)
    has_spellings = len(addresses.spellings(person.email)) > 1
    return render_template("people/erase.html", person=person, has_spellings=has_spellings)


@blueprint.post("/<int:person_id>/erase")
@workspace_access(Role.OWNER)
def erase(person_id: int) -> ResponseReturnValue:
    """Erase, and say what was removed."""
    person = _found(person_id)
    if person.email is not None:
        removed = erasures.erase(g.workspace.id, person.email, g.user.id)
        flash(
            "Erased: the address, the fields and consents, and the content of "
            f"{_counted(removed['activities'], 'activity', 'activities')}. "
            f"{_counted(removed['deliveries_stopped'], 'waiting delivery was', 'waiting deliveries were')} stopped. "
            "Nothing was removed in Klaviyo."
        )
    return redirect(url_for("people.show", person_id=person_id), 303)


def _counted(number: int, one: str, more: str) -> str:
    return f"{number:,} {one if number == 1 else more}"
