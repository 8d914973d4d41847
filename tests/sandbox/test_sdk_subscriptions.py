"""Subscribe and unsubscribe jobs: what they do to whom, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.processes import wait_for
from tests.sandbox.bodies import members, subscription_job
from tests.sandbox.klaviyo_clients import Plain, refused
from tests.sandbox_process import SandboxProcess

SUBSCRIBE = "/api/profile-subscription-bulk-create-jobs"
UNSUBSCRIBE = "/api/profile-subscription-bulk-delete-jobs"
PEOPLE = "/data/attributes/profiles/data"
ADA = "ada@example.com"


class Consents:
    """What becomes of the consents of one account."""

    def __init__(self, sandbox: SandboxProcess, account: str) -> None:
        self._sandbox = sandbox
        self._account = account

    def of(self, email: str) -> dict[str, Any]:
        """A person's consent now; nothing for a stranger."""
        return self._sandbox.subscriptions(self._account).get(email, {})

    def wait(self, email: str, **expected: Any) -> dict[str, Any]:
        """Wait until a person's consent holds these values."""
        wait_for(lambda: expected.items() <= self.of(email).items(), f"{email} to become {expected}", 5)
        return self.of(email)


@pytest.fixture
def consents(sandbox: SandboxProcess, account: str) -> Consents:
    return Consents(sandbox, account)


@pytest.fixture
def double(klaviyo: Any) -> str:
    """The id of a double opt-in list."""
    attributes = {"name": "Double", "opt_in_process": "double_opt_in"}
    made: str = klaviyo.Lists.create_list({"data": {"type": "list", "attributes": attributes}}).data.id
    return made


def test_subscribe_to_a_list(klaviyo: Any, consents: Consents, newsletter: str) -> None:
    body = subscription_job([{"email": "Ada@example.com"}], list_id=newsletter, custom_source="Program")
    assert klaviyo.Profiles.bulk_subscribe_profiles(body) is None
    held = consents.wait(ADA, state="SUBSCRIBED")
    assert (held["lists"], held["source"], held["double_optin"]) == ([newsletter], "Program", False)


def test_subscribe_takes_effect_after_its_202(plain: Plain, consents: Consents) -> None:
    answer = plain.post(SUBSCRIBE, subscription_job([{"email": ADA}]))
    assert (answer.status_code, answer.content) == (202, b"")
    consents.wait(ADA, state="SUBSCRIBED", lists=[])


def test_subscribe_by_id(klaviyo: Any, sandbox: SandboxProcess, account: str, consents: Consents) -> None:
    made = sandbox.put_profiles(account, ADA)[ADA]
    klaviyo.Profiles.bulk_subscribe_profiles(subscription_job([{"id": made, "email": ADA}]))
    consents.wait(ADA, state="SUBSCRIBED")


def test_double_opt_in_waits_for_the_confirmation(
    klaviyo: Any, sandbox: SandboxProcess, account: str, consents: Consents, double: str
) -> None:
    klaviyo.Profiles.bulk_subscribe_profiles(subscription_job([{"email": ADA}], list_id=double))
    consents.wait(ADA, pending=True, state="NEVER_SUBSCRIBED")
    assert sandbox.profiles(account) == {}
    assert sandbox.confirm(account, "stranger@example.com") == []
    assert sandbox.confirm(account) == [ADA]
    held = consents.of(ADA)
    assert (held["state"], held["double_optin"], held["lists"]) == ("SUBSCRIBED", True, [double])


def test_subscribing_lifts_what_a_person_may_lift(
    klaviyo: Any, sandbox: SandboxProcess, account: str, consents: Consents
) -> None:
    for reason in ("UNSUBSCRIBE", "USER_SUPPRESSED", "HARD_BOUNCE"):
        sandbox.set_subscription(account, ADA, "UNSUBSCRIBED", reason=reason)
    klaviyo.Profiles.bulk_subscribe_profiles(subscription_job([{"email": ADA}]))
    assert consents.wait(ADA, state="SUBSCRIBED")["suppressions"] == ["HARD_BOUNCE"]


def test_second_job_within_half_an_hour_is_dropped(
    klaviyo: Any, sandbox: SandboxProcess, account: str, consents: Consents
) -> None:
    klaviyo.Profiles.bulk_subscribe_profiles(subscription_job([{"email": ADA}]))
    consents.wait(ADA, state="SUBSCRIBED")
    klaviyo.Profiles.bulk_unsubscribe_profiles(subscription_job([{"email": ADA}], consent="UNSUBSCRIBED"))
    consents.wait(ADA, state="UNSUBSCRIBED")
    again = subscription_job([{"email": ADA}, {"email": "bea@example.com"}])
    klaviyo.Profiles.bulk_subscribe_profiles(again)
    consents.wait("bea@example.com", state="SUBSCRIBED")
    assert consents.of(ADA)["state"] == "UNSUBSCRIBED"


def test_historical_import_skips_double_opt_in(klaviyo: Any, consents: Consents, double: str) -> None:
    person = {"email": ADA, "at": "2024-05-06T07:08:09+00:00"}
    klaviyo.Profiles.bulk_subscribe_profiles(subscription_job([person], list_id=double, historical_import=True))
    held = consents.wait(ADA, state="SUBSCRIBED")
    assert (held["at"], held["lists"]) == ("2024-05-06T07:08:09+00:00", [double])


@pytest.mark.parametrize(
    ("person", "attributes"),
    [
        ({"email": ADA}, {"historical_import": True}),
        ({"email": ADA, "at": "2999-01-01T00:00:00Z"}, {"historical_import": True}),
        ({"email": ADA, "at": "2024-01-01T00:00:00Z"}, {}),
        ({"email": ADA, "at": "then"}, {"historical_import": True}),
    ],
)
def test_bad_consented_at(plain: Plain, person: dict[str, Any], attributes: dict[str, Any]) -> None:
    found = plain.refused("POST", SUBSCRIBE, subscription_job([person], **attributes))
    at = f"{PEOPLE}/0/attributes/subscriptions/email/marketing/consented_at"
    assert (found.status, found.pointers) == (400, [at])


def test_unsubscribe_from_a_list_and_from_all(
    klaviyo: Any, sandbox: SandboxProcess, account: str, consents: Consents, newsletter: str
) -> None:
    ids = sandbox.put_profiles(account, ADA, "bea@example.com")
    for email in ids:
        sandbox.set_subscription(account, email, "SUBSCRIBED")
    klaviyo.Lists.add_profiles_to_list(newsletter, members(ids[ADA]))
    both = [{"email": ADA}, {"email": "bea@example.com"}]
    klaviyo.Profiles.bulk_unsubscribe_profiles(
        subscription_job(both, list_id=newsletter, consent="UNSUBSCRIBED"),
    )
    # Who is not on the list is unsubscribed everywhere: the danger Klaviyo warns of.
    consents.wait("bea@example.com", state="UNSUBSCRIBED", suppressions=["UNSUBSCRIBE"])
    consents.wait(ADA, state="SUBSCRIBED", lists=[])


def test_unsubscribe_without_a_list_may_create_the_person(klaviyo: Any, consents: Consents) -> None:
    klaviyo.Profiles.bulk_unsubscribe_profiles(subscription_job([{"email": ADA}], consent="UNSUBSCRIBED"))
    consents.wait(ADA, state="UNSUBSCRIBED")


@pytest.mark.parametrize(("path", "consent"), [(SUBSCRIBE, "SUBSCRIBED"), (UNSUBSCRIBE, "UNSUBSCRIBED")])
def test_one_bad_address_refuses_all(
    plain: Plain, sandbox: SandboxProcess, account: str, path: str, consent: str
) -> None:
    body = subscription_job([{"email": ADA}, {"email": "nonsense"}], consent=consent)
    found = plain.refused("POST", path, body)
    assert (found.status, found.pointers) == (400, [f"{PEOPLE}/1/attributes/email"])
    assert sandbox.subscriptions(account) == {}


@pytest.mark.parametrize(
    ("path", "consent", "most"), [(SUBSCRIBE, "SUBSCRIBED", 1000), (UNSUBSCRIBE, "UNSUBSCRIBED", 100)]
)
def test_size_of_a_job(plain: Plain, path: str, consent: str, most: int) -> None:
    people = [{"email": f"p{number}@example.com"} for number in range(most + 1)]
    assert plain.post(path, subscription_job(people[:most], consent=consent)).status_code == 202
    assert plain.refused("POST", path, subscription_job(people, consent=consent)).pointers == [PEOPLE]
    assert plain.refused("POST", path, subscription_job([], consent=consent)).pointers == [PEOPLE]


def test_wrong_word_wrong_channel_and_no_subscriptions(plain: Plain) -> None:
    body = subscription_job([{"email": ADA}])
    person = body["data"]["attributes"]["profiles"]["data"][0]["attributes"]
    person["subscriptions"] = {"email": {"marketing": {"consent": "UNSUBSCRIBED"}}}
    consent = f"{PEOPLE}/0/attributes/subscriptions/email/marketing/consent"
    assert plain.refused("POST", SUBSCRIBE, body).pointers == [consent]
    person["subscriptions"] = {"sms": {"marketing": {"consent": "SUBSCRIBED"}}}
    assert plain.refused("POST", SUBSCRIBE, body).pointers == [f"{PEOPLE}/0/attributes/subscriptions/sms"]
    del person["subscriptions"]
    assert plain.refused("POST", SUBSCRIBE, body).pointers == [f"{PEOPLE}/0/attributes/subscriptions"]
    person["subscriptions"] = {"email": {"marketing": {"consent": "SUBSCRIBED"}}}
    person["properties"] = {"points": 1}
    assert plain.refused("POST", SUBSCRIBE, body).pointers == [f"{PEOPLE}/0/attributes/properties"]


def test_unknown_list(klaviyo: Any) -> None:
    body = subscription_job([{"email": ADA}], list_id="NOPE01")
    assert refused(klaviyo.Profiles.bulk_subscribe_profiles, body).status == 404


@pytest.mark.parametrize("lacking", ["lists:write", "profiles:write", "subscriptions:write"])
def test_scopes(klaviyo_with: Callable[..., Any], lacking: str) -> None:
    scopes = {"lists:write", "profiles:write", "subscriptions:write"} - {lacking}
    klaviyo = klaviyo_with(*sorted(scopes))
    found = refused(klaviyo.Profiles.bulk_subscribe_profiles, subscription_job([{"email": ADA}]))
    assert (found.status, lacking in found.detail) == (403, True)
    body = subscription_job([{"email": ADA}], consent="UNSUBSCRIBED")
    assert refused(klaviyo.Profiles.bulk_unsubscribe_profiles, body).status == 403
