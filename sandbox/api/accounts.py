"""GET /api/accounts: a token sees exactly the account it was granted in."""

from __future__ import annotations

from typing import Any

from sandbox.answers import resource
from sandbox.endpoints import Call, Reply, endpoint
from sandbox.errors import not_found
from sandbox.limits import XS


def _shown(call: Call) -> dict[str, Any]:
    account = call.account
    address = dict.fromkeys(("address1", "address2", "city", "region", "zip", "country"), "")
    attributes = {
        "test_account": True,
        "contact_information": {
            "default_sender_name": account.record.name,
            "default_sender_email": f"hello@{account.id.lower()}.example.com",
            "website_url": None,
            "organization_name": account.record.name,
            "street_address": address,
        },
        "industry": None,
        "timezone": "Europe/Stockholm",
        "preferred_currency": "EUR",
        "public_api_key": account.id,
        "locale": "en-US",
    }
    return resource(call, "account", account.id, attributes)


@endpoint("GET /api/accounts", "accounts:read", XS)
async def get_accounts(call: Call) -> Reply:
    """A list of one."""
    return Reply(
        200,
        {"data": [_shown(call)], "links": {"self": f"{call.base}/api/accounts", "next": None, "prev": None}},
    )


@endpoint("GET /api/accounts/{id}", "accounts:read", XS)
async def get_account(call: Call) -> Reply:
    """The token's own account; another one does not exist for it."""
    if call.part("id") != call.account.id:
        raise not_found("account", call.part("id"))
    return Reply(200, {"data": _shown(call)})
