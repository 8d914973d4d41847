"""What happened to every activity: the list, the causes, one delivery in full."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import orjson
from flask import Blueprint, abort, g, redirect, request, url_for
from flask.typing import ResponseReturnValue

from webapp import clock
from webapp.catalogue.causes import CAUSES
from webapp.catalogue.events import EVENTS
from webapp.catalogue.reasons import Reason, Status
from webapp.extensions import db, htmx, settings
from webapp.forms.delivery_filters import Filters, parse
from webapp.http.access import workspace_access
from webapp.http.errors import or_404
from webapp.http.pages import region
from webapp.models import Activity, Refusal, Role
from webapp.services.activities import refusals
from webapp.services.deliveries import causes, detail, proofs, remedies, resend_rules
from webapp.services.deliveries import search as delivery_search
from webapp.services.deliveries.detail import Detail
from webapp.services.deliveries.search import Found
from webapp.services.people import addresses
from webapp.services.people.addresses import mask_all
from webapp.services.tracing import finder
from webapp.views import mending
from webapp.views.connections import BASE, EVERYBODY

blueprint = Blueprint("deliveries", __name__, url_prefix=f"{BASE}/deliveries")
SHOWN_OF_A_PART = 100_000  # characters; an activity may have 5 MB, and a page shows it twice


@blueprint.get("")
@workspace_access(*EVERYBODY)
def index() -> ResponseReturnValue:
    """The list; filters stand in the URL. The first page keeps itself current where one follows it."""
    if request.args.get("view") == "causes":
        return _causes()
    filters, problems = parse(request.args)
    return _list(filters, problems)


def _list(
    filters: Filters,
    problems: list[str],
    *,
    sought: str = "",
    unfound: bool = False,
    refusal: Refusal | None = None,
    number: int | None = None,
) -> ResponseReturnValue:
    # Under a search that found nothing everything there is would look like its answer.
    shown = None if unfound and sought and not htmx else delivery_search.page(g.workspace.id, filters)
    return region(
        "deliveries/index.html",
        "list",
        422 if problems or unfound else 200,
        shown=shown,
        filters=filters,
        problems=problems,
        sought=sought,
        unfound=unfound,
        refusal=refusal,
        number=number,
        can_resend=filters.status in {None, Status.FAILED, Status.SKIPPED},
        choosable=_choosable(shown.found) if shown else set(),
        **_choices(),
    )


def _choosable(rows: Iterable[Found]) -> set[int]:
    """The deliveries that a list offers to send again."""
    return {row.delivery.id for row in rows if resend_rules.may_be_chosen(row.delivery, is_erased=row.is_erased)}


@blueprint.post("/find")
@workspace_access(*EVERYBODY)
def find() -> ResponseReturnValue:
    """Whatever somebody has in hand: 303 to what it names. Posted, so that no address stands in a URL."""
    typed = request.form.get("what", "")[:320]
    sought = typed.strip()
    found = finder.find(g.workspace.id, typed) if sought else None
    if found is None or isinstance(found, int):  # an activity's id may be a number, as a delivery's is
        refusal = refusals.of(g.workspace.id, typed)
        if found is None or refusal is not None:
            return _list(Filters(), [], sought=sought, unfound=True, refusal=refusal, number=found)
    slug = g.workspace.slug
    if isinstance(found, int):
        return redirect(url_for("deliveries.show", workspace=slug, delivery_id=found), 303)
    query: dict[str, Any] = dict(found.query())
    return redirect(url_for("deliveries.index", workspace=slug, **query), 303)


def _choices() -> dict[str, Any]:
    return {
        "statuses": list(Status),
        "reasons": sorted(Reason, key=lambda reason: CAUSES[reason].title),
        "events": EVENTS,
        "accounts": delivery_search.accounts(g.workspace.id),
        "causes": CAUSES,
        "show_email": show_email,
        "seen": seen_by(in_full=g.role is Role.OWNER),
    }


def _causes() -> ResponseReturnValue:
    """What fails, waits and is skipped, by cause."""
    words = request.args
    hours = int(words["hours"]) if words.get("hours") in {str(hours) for hours in causes.WINDOWS} else 24
    connection_id = parse(words)[0].connection_id
    groups = causes.groups(g.workspace.id, hours, connection_id)
    told = remedies.of_groups(db.session(), g.workspace.id, groups)
    return region(
        "deliveries/causes.html",
        "groups",
        groups=groups,
        told=told,
        mends=mending.of_groups(told),
        since=(clock.now() - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M"),
        hours=hours,
        windows=causes.WINDOWS,
        connection_id=connection_id,
        filters=Filters(connection_id=connection_id),
        **_choices(),
    )


def show_email(email: str | None) -> str:
    """Owners see their people's addresses; support agents see them masked."""
    return (email or "no address") if g.role is Role.OWNER else addresses.masked(email)


def seen_by(*, in_full: bool) -> Callable[[Any], Any]:
    """What a page shows of a value that may hold addresses."""
    return (lambda value: value) if in_full else mask_all


@blueprint.get("/<int:delivery_id>")
@workspace_access(*EVERYBODY)
def show(delivery_id: int) -> ResponseReturnValue:
    """One delivery: what came, where it went, what Klaviyo said, what happens next."""
    return _page(_found(delivery_id), revealed=False)


@blueprint.post("/<int:delivery_id>/reveal")
@workspace_access(*EVERYBODY)
def reveal(delivery_id: int) -> ResponseReturnValue:
    """The same page with addresses in full, written down first. Nothing is kept: the next look is masked again.

    Where nothing is masked there is nothing to reveal: back to the page.
    """
    found = _found(delivery_id)
    if not _can_reveal(found):
        return redirect(url_for("deliveries.show", delivery_id=delivery_id), 303)
    subject = ("person", found.person.id) if found.person is not None else ("delivery", delivery_id)
    addresses.note_reveal(g.workspace.id, subject, g.user.id, f"delivery {delivery_id}")
    return _page(found, revealed=True)


def _can_reveal(found: Detail) -> bool:
    """Whether the page shows somebody an address masked: the person's, or one in what came, went or was answered."""
    if g.role is Role.OWNER:
        return False
    said = [found.activity.external_id, found.delivery.detail, *(attempt.error for attempt in found.attempts)]
    shown = [*said, _posted(found.activity), found.item.body if found.item else None]
    return bool(found.person and found.person.email) or mask_all(shown) != shown


@blueprint.post("/<int:delivery_id>/proof")
@workspace_access(*EVERYBODY)
def prove(delivery_id: int) -> ResponseReturnValue:
    """Ask a worker to read back from Klaviyo whether it is really there."""
    found = _found(delivery_id)
    if found.connection is None or found.delivery.status is not Status.DELIVERED:
        abort(404)
    proofs.ask(found.delivery, g.user.id)
    return redirect(url_for("deliveries.show", delivery_id=delivery_id), 303)


def _found(delivery_id: int) -> Detail:
    return or_404(detail.of(g.workspace.id, delivery_id))


def _page(found: Detail, *, revealed: bool) -> ResponseReturnValue:
    in_full = revealed or g.role is Role.OWNER
    seen = seen_by(in_full=in_full)
    email = found.person.email if found.person else None
    own = url_for("deliveries.show", delivery_id=found.delivery.id)
    cause = remedies.of_delivery(db.session(), found)
    return region(
        "deliveries/show.html",
        "outcome",
        it=found,
        cause=cause,
        causes=CAUSES,
        mend=mending.button(cause, found.connection),
        email=(email or "no address") if in_full else addresses.masked(email),
        can_reveal=not revealed and _can_reveal(found),
        seen=seen,
        received=_received(found.activity, seen),
        item=_pretty(seen(found.item.body)) if found.item else None,
        link=f"{settings().public_url}{own}",
        metric=EVENTS[found.activity.event].metric if found.activity.event in EVENTS else None,
        proof=proofs.latest(found.delivery),
    )


def _received(activity: Activity, seen: Callable[[Any], Any]) -> dict[str, str]:
    """What the platform posted, part by part, as text, by how a page names it."""
    return {name: _pretty(seen(part)) for name, part in _posted(activity).items()}


def _posted(activity: Activity) -> dict[str, Any]:
    parts = {
        "Consent as received": activity.consent,
        "Properties received, with those common to every event": activity.properties,
        "Profile as received": activity.profile,
    }
    posted = {name: orjson.loads(text) for name, text in parts.items() if text}
    return {name: part for name, part in posted.items() if any(part.values())}


def _pretty(value: Any) -> str:
    """As text, and of a large one the beginning: a page of megabytes shows nobody anything."""
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    if len(text) <= SHOWN_OF_A_PART:
        return text
    return f"{text[:SHOWN_OF_A_PART]}\n… cut here: the first {SHOWN_OF_A_PART:,} of {len(text):,} characters"
