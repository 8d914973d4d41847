"""/_sandbox: for people and checks, never part of Klaviyo's own paths."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from sandbox import admin_accounts, demo
from sandbox.admin_accounts import body_of
from sandbox.endpoints import canonical
from sandbox.errors import Refused, invalid
from sandbox.oauth import OAuth, json
from sandbox.state.world import World


def add_routes(app: web.Application, world: World, grants: OAuth) -> None:
    """Register every call under /_sandbox."""
    admin = _Admin(world)
    accounts = admin_accounts.AccountCalls(world, grants)
    routes: dict[str, Callable[[web.Request], Awaitable[Any]]] = {
        "GET /_sandbox/accounts": accounts.overview,
        "GET /_sandbox/accounts/{id}/events": accounts.events,
        "GET /_sandbox/accounts/{id}/profiles": accounts.profiles,
        "GET /_sandbox/accounts/{id}/subscriptions": accounts.subscriptions,
        "GET /_sandbox/accounts/{id}/lists": accounts.lists,
        "POST /_sandbox/accounts/{id}/profiles": accounts.put_profiles,
        "POST /_sandbox/accounts/{id}/subscriptions": accounts.put_subscription,
        "POST /_sandbox/accounts/{id}/confirm": accounts.confirm,
        "POST /_sandbox/accounts/{id}/delete": accounts.delete,
        "POST /_sandbox/accounts/{id}/uninstall": accounts.uninstall,
        "POST /_sandbox/accounts/{id}/expire": accounts.expire,
        "POST /_sandbox/accounts/{id}/grants": accounts.grant,
        "GET /_sandbox/requests": admin.requests,
        "GET /_sandbox/rates": admin.rates,
        "GET /_sandbox/faults": admin.faults,
        "POST /_sandbox/faults": admin.add_fault,
        "DELETE /_sandbox/faults": admin.clear_faults,
        "POST /_sandbox/reset": admin.reset,
    }
    for name, handler in routes.items():
        method, path = name.split(" ")
        app.router.add_route(method, path, _answered(world, handler))


def _answered(
    world: World, handler: Callable[[web.Request], Awaitable[Any]]
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def serve(request: web.Request) -> web.StreamResponse:
        try:
            found = await handler(request)
        except Refused as refused:
            return json(refused.status, refused.body())
        world.save()
        if isinstance(found, web.StreamResponse):
            return found
        return json(200, found)

    return serve


class _Admin:
    """Counts, faults and starting anew."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def requests(self, _: web.Request) -> dict[str, Any]:
        """How many requests came, by account, endpoint and status (0: dropped)."""
        return {"requests": self._world.ledger.requests()}

    async def rates(self, _: web.Request) -> dict[str, Any]:
        """The most requests in any second and any minute, by account and endpoint."""
        return {"rates": self._world.ledger.rates()}

    async def faults(self, _: web.Request) -> dict[str, Any]:
        """The faults that are ordered."""
        return {"faults": msgspec.to_builtins(self._world.faults.all())}

    async def add_fault(self, request: web.Request) -> dict[str, Any]:
        """Order a fault. An account or endpoint that does not exist is refused: it would never strike."""
        order = await body_of(request)
        account, endpoint = order.get("account"), order.get("endpoint")
        if account is not None and not (isinstance(account, str) and account in self._world.accounts):
            raise invalid(f"There is no account {account!r}.", "/account")
        if endpoint is not None:
            order["endpoint"] = canonical(str(endpoint))
            if order["endpoint"] is None:
                raise invalid(f"There is no endpoint {endpoint!r}; name one as 'POST /api/events'.", "/endpoint")
        try:
            fault = self._world.faults.add(order)
        except msgspec.ValidationError as error:
            raise invalid(str(error)) from error
        return {"fault": msgspec.to_builtins(fault)}

    async def clear_faults(self, _: web.Request) -> dict[str, Any]:
        """Take all faults back."""
        self._world.faults.clear()
        return {}

    async def reset(self, _: web.Request) -> dict[str, Any]:
        """Begin as on the first start: accounts seeded anew, no grants, no faults, no counts."""
        self._world.empty()
        demo.seed(self._world)
        return {}
