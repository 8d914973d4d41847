"""What the person of a delivery said, and whether it still counts."""

from __future__ import annotations

import orjson

from jobs.choose import Item
from jobs.consents.decide import Wanted
from jobs.run import Run
from webapp.klaviyo import payloads
from webapp.services.people import consents
from webapp.services.people.consents import Place, Word


def wanted(item: Item) -> Wanted:
    """What they said in it."""
    return Wanted(orjson.loads(item.consent or "{}")["state"])


def source(run: Run) -> str:
    """What Klaviyo keeps beside a consent that we write."""
    return payloads.consent_source(run.held.workspace_id)


def is_superseded(run: Run, item: Item, consents_text: str) -> bool:
    """Whether, by what is known of the person now, something newer makes up for it in this account."""
    place = Place(run.connection.id, None)
    word = Word(wanted(item), item.occurred_at, item.accepted_at, item.activity_id, place)
    return consents.is_superseded(consents_text, word)
