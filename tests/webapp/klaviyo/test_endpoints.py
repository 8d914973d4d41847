"""Our table of endpoints says what Klaviyo's own SDK says of them: paths, scopes, limits, revision."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from klaviyo_api import KlaviyoAPI
from openapi_client.api.accounts_api import AccountsApi
from openapi_client.api.events_api import EventsApi
from openapi_client.api.lists_api import ListsApi
from openapi_client.api.profiles_api import ProfilesApi

from webapp.klaviyo import endpoints, scopes
from webapp.klaviyo.endpoints import Endpoint

METHODS: dict[Endpoint, tuple[Any, str]] = {
    endpoints.ACCOUNTS: (AccountsApi, "get_accounts"),
    endpoints.LISTS: (ListsApi, "get_lists"),
    endpoints.LIST_MEMBERS: (ListsApi, "get_profiles_for_list"),
    endpoints.LIST_ADD: (ListsApi, "add_profiles_to_list"),
    endpoints.PROFILES: (ProfilesApi, "get_profiles"),
    endpoints.PROFILE_PATCH: (ProfilesApi, "update_profile"),
    endpoints.PROFILE_IMPORT: (ProfilesApi, "create_or_update_profile"),
    endpoints.IMPORT_JOB: (ProfilesApi, "bulk_import_profiles"),
    endpoints.IMPORT_JOB_STATUS: (ProfilesApi, "get_bulk_import_profiles_job"),
    endpoints.IMPORT_JOB_ERRORS: (ProfilesApi, "get_errors_for_bulk_import_profiles_job"),
    endpoints.EVENT: (EventsApi, "create_event"),
    endpoints.EVENTS: (EventsApi, "bulk_create_events"),
    endpoints.EVENTS_READ: (EventsApi, "get_events"),
    endpoints.SUBSCRIBE: (ProfilesApi, "bulk_subscribe_profiles"),
    endpoints.UNSUBSCRIBE: (ProfilesApi, "bulk_unsubscribe_profiles"),
}


@pytest.mark.parametrize("endpoint", endpoints.ALL, ids=lambda endpoint: endpoint.name)
def test_an_endpoint_is_as_the_sdk_has_it(endpoint: Endpoint) -> None:
    api, method = METHODS[endpoint]
    written = inspect.getdoc(getattr(api, method)) or ""
    limits = re.search(r"Burst: `(\d+)/s`<br>Steady: `(\d+)/m`", written)
    needed = re.search(r"\*\*Scopes:\*\*((?: `[a-z:-]+`)+)", written)
    assert limits is not None
    assert needed is not None
    assert (endpoint.per_second, endpoint.per_minute) == (int(limits[1]), int(limits[2]))
    assert sorted(endpoint.scopes) == sorted(re.findall(r"`(.+?)`", needed[1]))
    source = inspect.getsource(getattr(api, f"_{method}_serialize"))
    assert f"method='{endpoint.method}'" in source
    assert re.sub(r"\{\w+\}", "{id}", re.findall(r"resource_path='(.+?)'", source)[0]) == endpoint.path


def test_we_ask_for_the_revision_the_sdk_asks_for() -> None:
    assert KlaviyoAPI._REVISION == endpoints.REVISION


def test_names_are_one_endpoint_each() -> None:
    assert len(endpoints.BY_NAME) == len(endpoints.ALL) == len(METHODS)
    assert endpoints.BY_NAME["POST /api/events"] is endpoints.EVENT


def test_every_call_of_a_feature_is_asked_for() -> None:
    """Nothing we call needs a scope that nobody is asked for, and nothing is asked for that the matrix does not say."""
    needed = {scope for endpoint in endpoints.ALL for scope in endpoint.scopes}
    assert needed <= set(scopes.ASKED)
    assert set(scopes.ASKED) - needed == {"metrics:read", "metrics:write"}
    assert len(scopes.ASKED) == len(set(scopes.ASKED))
    assert scopes.calls_needing("subscriptions:write") == (endpoints.SUBSCRIBE.name, endpoints.UNSUBSCRIBE.name)
    assert scopes.missing(frozenset(scopes.ASKED)) == {}
    lacking = scopes.missing(frozenset(scopes.ASKED) - {"lists:write"})
    assert lacking == {"new_profiles_list": ("lists:write",), "newsletter": ("lists:write",)}
