"""People whom our signups put on several lists of a shop's account, and a Klaviyo that takes them off."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import select, update

from tests.jobs.klaviyo import Asked, Given, good
from tests.jobs.shop import Shop
from tests.jobs.test_consents_lane import SUBSCRIBE, UNSUBSCRIBE
from webapp import clock
from webapp.catalogue.words import Kind
from webapp.database import reading, writing
from webapp.models import Connection, Delivery, Person, ProfileLink, Signup

A, B, C = "LIST01", "LIST02", "LIST03"
HOUR = timedelta(hours=1)


def on_lists(shop: Shop, *lists: str | None, age: timedelta = HOUR) -> Person:
    """Somebody whom we subscribed to these lists, one after the other, the last one so long ago; on all of them."""
    person, now = shop.person(), clock.now()
    email = str(person.email)
    shop.klaviyo.subscribed[email] = {"consent": "SUBSCRIBED", "consent_timestamp": clock.iso(now - age)}
    for before, list_id in enumerate(reversed(lists)):
        shop.rows.signup(shop.connection, person, list_id, sent_at=now - age - before * HOUR)
        shop.klaviyo.members[list_id or ""].add(email)
    shop.rows.link(shop.connection, person, subscribed_at=now - age, subscribed_list_id=lists[-1])
    return person


def withdraws(shop: Shop, person: Person, times: int = 1) -> Delivery:
    """They withdraw, and the lane is drained so often."""
    delivery = shop.consent(person, "unsubscribed")
    shop.drain(Kind.CONSENT, times=times)
    return delivery


def obeys(shop: Shop, *answers: Any) -> None:
    """Klaviyo takes off at once whoever is unsubscribed; after these answers, of which None is such a one."""

    def takes_off(asked: Asked) -> Given:
        for each in asked.profiles:
            shop.klaviyo.members[list_of(asked) or ""].discard(each["attributes"]["email"])
        return good(202)

    shop.klaviyo.script(UNSUBSCRIBE, *[takes_off if answer is None else answer for answer in answers], *[takes_off] * 9)


def list_of(asked: Asked) -> str | None:
    """The list that a call of the subscriptions names."""
    found: str | None = asked.body["data"].get("relationships", {}).get("list", {}).get("data", {}).get("id")
    return found


def left(shop: Shop) -> list[str | None]:
    """From which lists somebody was unsubscribed, in order."""
    return [list_of(asked) for asked in shop.klaviyo.calls(UNSUBSCRIBE)]


def joined(shop: Shop) -> list[str | None]:
    """To which lists somebody was subscribed, in order."""
    return [list_of(asked) for asked in shop.klaviyo.calls(SUBSCRIBE)]


def asked_about(shop: Shop) -> list[str]:
    """Whose members were asked about, in order."""
    return [asked.path.split("/")[3] for asked in shop.klaviyo.calls("GET /api/lists/{id}/profiles")]


def signups(person: Person) -> dict[str, tuple[int | None, bool]]:
    """List -> which withdrawal was sent for it, and whether Klaviyo took that."""
    with reading() as session:
        rows = session.scalars(select(Signup).where(Signup.person_id == person.id))
        return {row.list_id: (row.withdrawn_by, row.withdrawn_at is not None) for row in rows}


def choose(shop: Shop, list_id: str | None) -> None:
    """The owner chooses another list."""
    with writing() as session:
        session.execute(update(Connection).where(Connection.id == shop.connection.id).values(list_id=list_id))


def later(shop: Shop, person: Person, passed: timedelta = HOUR) -> None:
    """So much time goes by since the person's last signup; what is to be read back is due."""
    with writing() as session:
        link = session.get_one(ProfileLink, (shop.connection.id, person.id))
        link.subscribed_at = link.subscribed_at - passed if link.subscribed_at else None
        link.withdrawal_check_at = clock.now() if link.withdrawal_check_at else None
        for row in session.scalars(select(Signup).where(Signup.person_id == person.id)):
            row.sent_at -= passed
