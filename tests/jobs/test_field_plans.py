"""Each person's due changes become one write to the right profile, of what changed; nobody is created unasked."""

from __future__ import annotations

from datetime import timedelta

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.choose import Item
from jobs.fields import plan
from jobs.fields.plan import Group, Step
from jobs.lookup import Link
from tests.jobs import planned
from tests.jobs.planned import NOW, item, link, shared, situations
from webapp.catalogue.reasons import Reason, Status
from webapp.catalogue.words import Origin, SyncBehavior
from webapp.klaviyo import payloads
from webapp.services.people import records
from webapp.services.workspaces.snapshot import WorkspaceSettings

UPDATE, CREATE = SyncBehavior.UPDATE_EXISTING, SyncBehavior.CREATE_PROFILE
behaviors = st.sampled_from(SyncBehavior)
Situation = tuple[list[Item], dict[int, Link]]


def planned_of(situation: Situation, known: WorkspaceSettings, behavior: SyncBehavior) -> list[Group]:
    """The groups of everything that is not over already."""
    items, links = situation
    ended = plan.ended(items, NOW)
    grouped = plan.by_person(each for each in items if each.id not in ended)
    return plan.plan(grouped, links, known, behavior, NOW)


@given(situations(), shared, behaviors)
def test_everybody_is_in_one_group_with_all_that_is_due(
    situation: Situation, known: WorkspaceSettings, behavior: SyncBehavior
) -> None:
    items, _ = situation
    groups = planned_of(situation, known, behavior)
    assert len({group.person_id for group in groups}) == len(groups)
    grouped = [each.id for group in groups for each in group.items]
    over = plan.ended(items, NOW)
    assert sorted([*grouped, *over]) == [each.id for each in items]
    for group in groups:
        assert {each.person_id for each in group.items} == {group.person_id}
        assert [each.id for each in group.items] == sorted(each.id for each in group.items)
        to = group.write.id if group.write else None
        assert group.member == [group.person_id, group.version, [each.id for each in group.items], to]
        assert (group.result is None) is (group.step is not Step.SETTLE)
        assert (group.write is None) is (group.step not in {Step.UPDATE, Step.CREATE})
    for each in items:
        if each.id in over:
            assert over[each.id].reason is (Reason.ERASED if each.email is None else Reason.EXPIRED)


@given(situations(), shared, behaviors)
def test_nobody_is_created_unasked(situation: Situation, known: WorkspaceSettings, behavior: SyncBehavior) -> None:
    _, links = situation
    for group in planned_of(situation, known, behavior):
        there = links.get(group.person_id)
        is_there = there is not None and bool(there.found)
        if group.step is Step.UPDATE:
            assert is_there
            assert group.write is not None
            assert there is not None
            assert group.write.id == there.klaviyo_id
            assert "email" not in group.write.attributes(), "under update_existing nothing goes by address"
        if group.step is Step.CREATE:
            assert behavior is CREATE
            assert not is_there
            assert any(each.origin is not Origin.TEST for each in group.items), "test events never create"
            assert group.write is not None
            assert (group.write.id, group.write.email) == (None, group.items[-1].email)
        if not is_there and behavior is UPDATE and group.step is Step.SETTLE and group.result is not None:
            assert group.result.reason in {Reason.NOT_IN_KLAVIYO, Reason.KLAVIYO_PROCESSING}


@given(situations(), shared, behaviors)
def test_a_write_is_all_that_changed_and_no_more(
    situation: Situation, known: WorkspaceSettings, behavior: SyncBehavior
) -> None:
    _, links = situation
    for group in planned_of(situation, known, behavior):
        newest, there = group.items[-1], links.get(group.person_id)
        everything = records.shared_changes(newest.fields, 0, known.fields, known.fields_on)
        if there is not None and there.job_batch_id is not None:
            assert group.step is Step.SETTLE, "nobody is in two unfinished writes"
            assert group.result is not None
            assert (group.result.status, group.result.reason) == (Status.WAITING, Reason.KLAVIYO_PROCESSING)
            continue
        if group.write is None:
            continue
        assert group.version == newest.fields_version
        backfill = any(each.origin is Origin.BACKFILL for each in group.items)
        if group.step is Step.CREATE or backfill:
            assert group.write.properties == everything
        else:
            since = there.fields_version if there else 0
            assert group.write.properties == {
                known.fields[key].property: held["v"]
                for key, held in newest.fields.items()
                if key in known.fields_on and held["n"] > since
            }
            assert group.write.properties


@given(situations(), shared, behaviors)
def test_whatever_needs_no_look_up_would_need_no_write(
    situation: Situation, known: WorkspaceSettings, behavior: SyncBehavior
) -> None:
    items, links = situation
    over = plan.ended(items, NOW)
    grouped = plan.by_person(each for each in items if each.id not in over)
    spared = plan.without_look_up(grouped, links, known, behavior, NOW)
    assert all(r.status is Status.SKIPPED or r.reason is Reason.KLAVIYO_PROCESSING for r in spared.values())
    for group in planned_of(situation, known, behavior):
        ids = {each.id for each in group.items}
        assert ids <= set(spared) or ids.isdisjoint(spared), "all of a person's or none"
        if ids <= set(spared):
            assert group.step is Step.SETTLE
            assert group.result is not None
            assert group.result.status in {Status.SKIPPED, Status.WAITING}
            if group.link is not None and group.link.found:
                assert {spared[id_].reason for id_ in ids} == {group.result.reason}


def test_several_changes_of_one_person_are_one_write() -> None:
    said = [{"points": 1}, {"points": 2, "tier_name": "Gold"}, {"tier_name": None}]
    items = [item(number, changes=said) for number in (1, 2, 3)]
    (group,) = plan.plan({1: items}, {1: link()}, planned.settings("points", "tier_name"), UPDATE, NOW)
    assert group.write is not None
    assert group.write.properties == {"Cevoid: Points": 2, "Cevoid: Tier Name": None}
    assert group.version == 3
    (later,) = plan.plan({1: items}, {1: link(fields_version=2)}, planned.settings("points", "tier_name"), UPDATE, NOW)
    assert later.write is not None
    assert later.write.properties == {"Cevoid: Tier Name": None}


def test_what_was_left_behind_goes_with_any_news_once_its_field_is_on_and_once_only() -> None:
    fields, version = planned.fields_of([{"points": 7}, {"tier_name": "Gold"}])
    behind = orjson.loads(records.left_behind(orjson.dumps(fields).decode(), {"points", "never known"}))
    assert set(behind) == set(fields)
    for_off, still = records.merge_fields(behind, version, {"points": 7, "tier_name": "Gold"}, NOW, {"tier_name"})
    assert still == version
    assert records.merge_fields(for_off, still, {}, NOW, planned.KNOWN) == (for_off, still), "no news"
    older = NOW - timedelta(days=1)
    for news, at in (({"points": 7}, NOW), ({"tier_name": "Gold"}, NOW), ({"points": 6}, older)):
        gone, newer = records.merge_fields(for_off, still, news, at, planned.KNOWN)
        assert newer == version + 1
        assert (gone["points"]["v"], gone["points"]["n"], gone["tier_name"]["n"]) == (7, newer, 2)
        assert records.merge_fields(gone, newer, news, at, planned.KNOWN) == (gone, newer)


def test_a_sync_writes_what_was_turned_on_since() -> None:
    synced = item(1, changes=[{"points": 1}], origin=Origin.BACKFILL)
    there = link(fields_version=1)
    (group,) = plan.plan({1: [synced]}, {1: there}, planned.settings("points"), UPDATE, NOW)
    assert group.step is Step.UPDATE
    assert plan.without_look_up({1: [synced]}, {1: there}, planned.settings("points"), UPDATE, NOW) == {}
    platform = synced._replace(origin=Origin.PLATFORM)
    (nothing,) = plan.plan({1: [platform]}, {1: there}, planned.settings("points"), UPDATE, NOW)
    assert nothing.result is not None
    assert nothing.result.reason is Reason.UNCHANGED


def test_nothing_to_write_says_why() -> None:
    held = item(1, changes=[{"points": 1}])
    for known, reason in ((planned.settings(), Reason.FIELDS_OFF), (planned.settings("tier_name"), Reason.FIELDS_OFF)):
        (group,) = plan.plan({1: [held]}, {1: link()}, known, UPDATE, NOW)
        assert group.result is not None
        assert group.result.reason is reason
    (empty,) = plan.plan({1: [item(1)]}, {1: link()}, planned.settings("points"), UPDATE, NOW)
    assert empty.result is not None
    assert empty.result.reason is Reason.UNCHANGED


@pytest.mark.parametrize("version", [1, 2])
def test_a_value_that_is_not_shared_is_not_said_to_be_in_klaviyo(version: int) -> None:
    """Whatever else of the person is shared, and was written before."""
    there, known = link(fields_version=version), planned.settings("points")
    for changes, reason in (
        ([{"points": 1}, {"shoe": "42"}], Reason.FIELDS_OFF),
        ([{"points": 1}, {"points": 1, "shoe": "42"}], Reason.UNCHANGED),
        ([{"points": 1}, {"points": 1}], Reason.UNCHANGED),
    ):
        came = item(1, changes=changes, occurred_at=planned.moment(1))
        early = plan.without_look_up({1: [came]}, {1: there}, known, UPDATE, NOW)
        late = plan.plan({1: [came]}, {1: there}, known, UPDATE, NOW)[0].result
        assert late is not None
        assert {result.reason for result in (*early.values(), late)} == {reason}


def test_a_missing_person_is_created_though_no_field_is_shared() -> None:
    said = item(1, changes=[{"points": 1}], first_name="Ada", last_name="Lovelace")
    (group,) = plan.plan({1: [said]}, {1: link(found=False)}, planned.settings(), CREATE, NOW)
    assert group.step is Step.CREATE
    assert group.write is not None
    assert group.write.attributes() == {"email": said.email, "first_name": "Ada", "last_name": "Lovelace"}
    assert plan.without_look_up({1: [said]}, {1: link(found=False)}, planned.settings(), CREATE, NOW) == {}


def test_whoever_is_owed_to_the_list_gets_the_list_step_alone() -> None:
    (group,) = plan.plan({1: [item(1)]}, {1: link(list_due=True)}, planned.settings("points"), CREATE, NOW)
    assert group.step is Step.LIST


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12_000), st.integers(0, 1500), st.integers(0, 200), st.booleans(), shared)
def test_an_import_job_fits(count: int, letters: int, name: int, by_id: bool, known: WorkspaceSettings) -> None:
    """Ten thousand people and 5 MB, whatever is known of them."""
    said = [{"points": None, "tier_name": "Ö" * letters, "shoe": '"' * (letters // 3), "long": None}]
    one = item(1, changes=said, first_name="Å" * name, last_name="ö" * name)
    one = one._replace(email="ö" * 88 + "@example.com")
    there = link(found=by_id)
    (group,) = plan.plan({1: [one]}, {1: there}, known, CREATE, NOW)
    if group.write is None:
        return
    groups = [group] * count
    chosen = plan.fitting(groups)
    assert 1 <= len(chosen) <= payloads.IMPORT_PROFILES
    each = len(payloads.import_job([group.write]).body or b"")
    two = len(payloads.import_job([group.write] * 2).body or b"")
    whole = each + (two - each) * (len(chosen) - 1)
    if len(chosen) > 1:
        assert whole <= payloads.BODY_BYTES
    if len(chosen) < min(count, payloads.IMPORT_PROFILES):
        assert whole > payloads.BODY_BYTES * 0.3, "and not many fewer than fit"
    assert orjson.loads(payloads.import_job([group.write]).body or b"")["data"]["type"] == "profile-bulk-import-job"
