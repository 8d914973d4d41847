"""The rules of consent, case by case and for any situation."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.consents.decide import (
    RESUBSCRIBE_PAUSE,
    InKlaviyo,
    Sent,
    Situation,
    Step,
    Wanted,
    decide,
)
from webapp.catalogue.reasons import Reason
from webapp.catalogue.words import SyncBehavior

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
THERE = InKlaviyo(klaviyo_id="01K", is_subscribed=False)
BASE = Situation(
    wanted=Wanted.SUBSCRIBED,
    occurred_at=NOW - HOUR,
    behavior=SyncBehavior.UPDATE_EXISTING,
    list_id="LIST01",
    sent=None,
    profile=THERE,
    accepted_at=NOW - HOUR,
    now=NOW,
)
WITHDRAWN = replace(BASE, wanted=Wanted.UNSUBSCRIBED, profile=replace(THERE, is_subscribed=True))


def test_a_consent_goes_to_the_connections_list() -> None:
    assert decide(BASE).step is Step.SUBSCRIBE
    assert decide(BASE).list_id == "LIST01"
    assert decide(replace(BASE, list_id=None)).list_id is None


def test_somebody_subscribed_already_is_delivered_without_a_call() -> None:
    found = decide(replace(BASE, profile=replace(THERE, is_subscribed=True)))
    assert (found.step, found.reason) == (Step.DELIVERED, Reason.ALREADY_SUBSCRIBED)


def test_a_subscribe_of_ours_that_nothing_shows_is_no_proof_until_its_list_is_asked() -> None:
    shown = replace(BASE, profile=replace(THERE, is_subscribed=True), unproven="LIST02")
    found = decide(shown)
    assert (found.step, found.list_id) == (Step.CHECK_MEMBERSHIP, "LIST02")
    assert decide(replace(shown, on_list=True)).reason is Reason.ALREADY_SUBSCRIBED


def test_an_opt_out_later_than_the_consent_wins_and_an_earlier_one_does_not() -> None:
    later = replace(BASE, profile=replace(THERE, opted_out_at=NOW - HOUR / 2))
    assert (decide(later).step, decide(later).reason) == (Step.SKIP, Reason.NEWER_OPT_OUT)
    earlier = replace(BASE, profile=replace(THERE, opted_out_at=NOW - 2 * HOUR))
    assert decide(earlier).step is Step.SUBSCRIBE


def test_whoever_is_subscribed_and_suppressed_is_not_subscribed_already() -> None:
    """A signup lifts what was before it, and nothing that came after it or at a time that nobody knows."""
    shown = replace(THERE, is_subscribed=True, has_opted_out=True)
    earlier = replace(BASE, profile=replace(shown, opted_out_at=NOW - 2 * HOUR))
    assert decide(earlier).step is Step.SUBSCRIBE
    for opted_out_at in (NOW - HOUR / 2, None):
        found = decide(replace(BASE, profile=replace(shown, opted_out_at=opted_out_at)))
        assert (found.step, found.reason) == (Step.SKIP, Reason.NEWER_OPT_OUT)
    withdrawn = replace(earlier, withdrawn_at=NOW - HOUR / 60)
    assert decide(withdrawn).reason is Reason.KLAVIYO_PROCESSING


def test_an_opt_out_whose_time_klaviyo_does_not_tell_wins() -> None:
    unknown = replace(BASE, profile=replace(THERE, has_opted_out=True))
    assert (decide(unknown).step, decide(unknown).reason) == (Step.SKIP, Reason.NEWER_OPT_OUT)


def test_a_consent_of_tomorrow_does_not_overrule_an_opt_out_of_today() -> None:
    """A clock that is wrong, or a time without its zone: nobody consents after we have heard of it."""
    ahead = replace(BASE, occurred_at=NOW + 10 * HOUR)
    today = replace(ahead, profile=replace(THERE, opted_out_at=NOW - HOUR / 2))
    assert decide(today).reason is Reason.NEWER_OPT_OUT
    before = replace(ahead, profile=replace(THERE, opted_out_at=NOW - 2 * HOUR))
    assert decide(before).step is Step.SUBSCRIBE


def test_while_our_own_withdrawal_is_on_its_way_nobody_counts_as_subscribed_already() -> None:
    """They left, and signed up again a minute later; Klaviyo takes its time over the first."""
    minute, shown = timedelta(minutes=1), replace(THERE, is_subscribed=True)
    again = replace(BASE, occurred_at=NOW - minute, accepted_at=NOW, profile=shown)
    found = decide(replace(again, withdrawn_at=NOW - 2 * minute))
    assert (found.step, found.reason, found.until) == (Step.WAIT, Reason.KLAVIYO_PROCESSING, NOW + minute / 12)
    assert decide(again).reason is Reason.ALREADY_SUBSCRIBED
    for other in (THERE, replace(shown, has_opted_out=True, opted_out_at=NOW - HOUR)):
        waits = decide(replace(again, withdrawn_at=NOW - 2 * minute, profile=other))
        assert (waits.step, waits.reason) == (Step.WAIT, Reason.KLAVIYO_PROCESSING), "it would end what this begins"
    # Who opted out by which door is not told: nobody is subscribed over it.
    gone = replace(again, withdrawn_at=NOW - 2 * minute, profile=replace(THERE, opted_out_at=NOW))
    assert decide(gone).reason is Reason.NEWER_OPT_OUT


def test_a_second_subscribe_waits_until_half_an_hour_after_the_first() -> None:
    found = decide(replace(BASE, sent=Sent(NOW - HOUR / 4, "LIST01")))
    assert (found.step, found.reason) == (Step.WAIT, Reason.RESUBSCRIBE_PAUSE)
    assert found.until == NOW - HOUR / 4 + RESUBSCRIBE_PAUSE
    assert decide(replace(BASE, sent=Sent(NOW - HOUR, "LIST01"))).step is Step.SUBSCRIBE


@pytest.mark.parametrize(
    ("age", "next_look"),
    [
        (0, 60),
        (59, 60),
        (60, 600),
        (599, 600),
        (600, 3600),
        (3600, 3600 + 6 * 3600),
        (86400, 86400 + 6 * 3600),
    ],
)
def test_somebody_who_is_not_there_is_held_and_looked_up_less_and_less(age: int, next_look: int) -> None:
    accepted = NOW - timedelta(seconds=age)
    found = decide(replace(BASE, profile=None, accepted_at=accepted))
    assert (found.step, found.reason) == (Step.WAIT, Reason.NOT_IN_KLAVIYO)
    assert found.until == accepted + timedelta(seconds=next_look)


def test_create_profile_subscribes_somebody_who_is_not_there() -> None:
    found = decide(replace(BASE, profile=None, behavior=SyncBehavior.CREATE_PROFILE))
    assert found.step is Step.SUBSCRIBE


def test_a_withdrawal_leaves_the_list_its_consent_went_to() -> None:
    sent = replace(WITHDRAWN, sent=Sent(NOW - HOUR, "OLD001"))
    assert decide(sent).step is Step.CHECK_MEMBERSHIP
    assert decide(replace(sent, on_list=True)).list_id == "OLD001"
    assert decide(replace(sent, on_list=True)).step is Step.UNSUBSCRIBE
    without = decide(replace(WITHDRAWN, sent=Sent(NOW - HOUR, None)))
    assert (without.step, without.list_id) == (Step.UNSUBSCRIBE, None)


def test_a_withdrawal_never_names_a_list_the_person_is_not_on() -> None:
    found = decide(replace(WITHDRAWN, on_list=False))
    assert (found.step, found.reason) == (Step.SKIP, Reason.NOT_ON_LIST)


@pytest.mark.parametrize("profile", [None, THERE])
def test_a_withdrawal_does_not_give_up_while_our_subscribe_may_still_arrive(
    profile: InKlaviyo | None,
) -> None:
    fresh = replace(
        WITHDRAWN,
        profile=profile,
        on_list=False,
        sent=Sent(NOW, "LIST01"),
        accepted_at=NOW - timedelta(seconds=1),
    )
    found = decide(fresh)
    assert (found.step, found.reason) == (Step.WAIT, Reason.KLAVIYO_PROCESSING)
    assert found.until is not None
    assert found.until - NOW <= timedelta(seconds=60)


def test_a_withdrawal_does_not_undo_a_later_signup_by_another_door() -> None:
    elsewhere = replace(WITHDRAWN, profile=replace(THERE, is_subscribed=True, consented_at=NOW))
    assert decide(elsewhere).reason is Reason.SUPERSEDED
    before_it = replace(elsewhere, sent=Sent(NOW - 24 * HOUR, "LIST01"))
    assert decide(before_it).reason is Reason.SUPERSEDED, "a signup of ours long before it is not that one"
    for minutes in (-9, 9):
        ours = replace(elsewhere, sent=Sent(NOW + timedelta(minutes=minutes), "LIST01"))
        assert decide(ours).step is Step.CHECK_MEMBERSHIP, "our own, by its time"
        named = replace(ours, profile=replace(ours.profile or THERE, is_ours=False))
        assert decide(named).reason is Reason.SUPERSEDED, "by its name it is another's"
    late = replace(
        elsewhere, sent=Sent(NOW - HOUR, "LIST01"), profile=replace(before_it.profile or THERE, is_ours=True)
    )
    assert decide(late).step is Step.CHECK_MEMBERSHIP, "our own that took its time, by its name"
    earlier = replace(elsewhere, accepted_at=NOW)
    assert decide(earlier).step is Step.CHECK_MEMBERSHIP


moments = st.integers(-100_000, 0).map(lambda seconds: NOW + timedelta(seconds=seconds))
profiles = st.none() | st.builds(
    InKlaviyo,
    klaviyo_id=st.just("01K"),
    is_subscribed=st.booleans(),
    opted_out_at=st.none() | moments,
    has_opted_out=st.booleans(),
    consented_at=st.none() | moments,
    is_ours=st.none() | st.booleans(),
)
situations = st.builds(
    Situation,
    wanted=st.sampled_from(Wanted),
    occurred_at=moments,
    behavior=st.sampled_from(SyncBehavior),
    list_id=st.none() | st.just("LIST01"),
    sent=st.none() | st.builds(Sent, at=moments, list_id=st.none() | st.just("SENT01")),
    profile=profiles,
    accepted_at=moments,
    now=st.just(NOW),
    on_list=st.none() | st.booleans(),
    withdrawn_at=st.none() | moments,
    unproven=st.none() | st.just("SENT01"),
)


@given(situations)
def test_for_any_situation_nobody_is_created_revived_or_unsubscribed_elsewhere(situation: Situation) -> None:
    found = decide(situation)
    if found.step is Step.SUBSCRIBE:
        assert situation.wanted is Wanted.SUBSCRIBED
        assert situation.profile is not None or situation.behavior is SyncBehavior.CREATE_PROFILE
        opted_out_at = situation.profile.opted_out_at if situation.profile else None
        assert opted_out_at is None or opted_out_at <= situation.occurred_at
        assert opted_out_at is not None or situation.profile is None or not situation.profile.has_opted_out
        assert situation.sent is None or NOW - situation.sent.at >= RESUBSCRIBE_PAUSE
        assert situation.withdrawn_at is None
    if found.step is Step.UNSUBSCRIBE:
        assert situation.wanted is Wanted.UNSUBSCRIBED
        assert situation.profile is not None
        assert found.list_id is None or situation.on_list
    if found.step is Step.WAIT:
        assert found.until is not None
        assert found.until > NOW
    assert (found.reason is None) == (found.step in {Step.SUBSCRIBE, Step.UNSUBSCRIBE, Step.CHECK_MEMBERSHIP})
