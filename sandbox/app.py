"""The way of a request: counted, delayed, made to fail where ordered, authorized, limited, checked, done."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import orjson
from aiohttp import web

from sandbox import admin, api, consent_page, oauth, revisions
from sandbox.endpoints import ENDPOINTS, Call, Endpoint, Reply
from sandbox.errors import Problem, Refused, forbidden, throttled, unauthorized, wrong_method
from sandbox.faults import Fault
from sandbox.state.records import Grant
from sandbox.state.world import World

_ = api  # importing it registers the endpoints
MAX_BODY = 5 * 1024 * 1024
_MEDIA_TYPE = "application/vnd.api+json"
_HELD_SECONDS = 3600
Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Dropped(Exception):
    """The connection is cut instead of answered."""


def make_app(world: World) -> web.Application:
    """The application over a world."""
    app = web.Application(client_max_size=MAX_BODY + 1)
    for each in ENDPOINTS:
        serve = _api(world, each)
        app.router.add_route(each.method, each.path, serve)
        app.router.add_route(each.method, f"{each.path}/", serve)  # older clients end paths so, and Klaviyo takes it
    grants = oauth.OAuth(world)
    app.router.add_route("GET", "/oauth/authorize", grants.authorize)
    app.router.add_route("POST", "/oauth/authorize", grants.authorize)
    app.router.add_route("POST", "/oauth/token", _oauth(world, "POST /oauth/token", grants.token))
    app.router.add_route("POST", "/oauth/revoke", _oauth(world, "POST /oauth/revoke", grants.revoke))

    async def accounts(_: web.Request) -> web.StreamResponse:
        return consent_page.accounts(world)

    async def nothing(request: web.Request) -> web.StreamResponse:
        problem = Problem(f"No endpoint {request.method} {request.path}.", code="not_found", title="Not found.")
        return _refusal(Refused(404, problem), {})

    app.router.add_route("GET", "/", accounts)
    admin.add_routes(app, world, grants)
    for path in dict.fromkeys(each.path for each in ENDPOINTS):
        refuse = _wrong_method(world, [each.method for each in ENDPOINTS if each.path == path])
        app.router.add_route("*", path, refuse)
        app.router.add_route("*", f"{path}/", refuse)
    app.router.add_route("*", "/api/{rest:.*}", nothing)
    return app


def _wrong_method(world: World, allowed: list[str]) -> Serve:
    async def serve(request: web.Request) -> web.StreamResponse:
        headers = {"x-klaviyo-req-id": _request_id()}
        if _grant(world, request) is None:
            return _refusal(unauthorized(), headers)
        return _refusal(wrong_method(request.method, allowed), headers)

    return serve


def _refusal(refused: Refused, headers: dict[str, str]) -> web.Response:
    body = orjson.dumps(refused.body())
    return web.Response(
        status=refused.status, body=body, content_type=_MEDIA_TYPE, headers={**headers, **refused.headers}
    )


def _request_id() -> str:
    digits = f"{random.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _grant(world: World, request: web.Request) -> Grant | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return world.grants.of_access(token) if scheme == "Bearer" else None


def _api(world: World, each: Endpoint) -> Serve:
    async def serve(request: web.Request) -> web.StreamResponse:
        grant = _grant(world, request)
        account = grant.account if grant else ""
        world.ledger.arrived(account, each.name, time.monotonic())
        headers = {"x-klaviyo-req-id": _request_id()}
        if account:
            headers["cid"] = account

        async def work() -> web.StreamResponse:
            return await _do(world, each, request, grant, headers)

        return await _served(world, request, account, each.name, headers, work, each.scopes)

    return serve


def _oauth(world: World, name: str, handler: Serve) -> Serve:
    async def serve(request: web.Request) -> web.StreamResponse:
        form = await request.post() if request.content_type == "application/x-www-form-urlencoded" else {}
        token = form.get("refresh_token") or form.get("token") or ""
        grant = world.grants.of_refresh(str(token))
        account = grant.account if grant else ""
        world.ledger.arrived(account, name, time.monotonic())

        async def work() -> web.StreamResponse:
            try:
                return await handler(request)
            except (oauth.OAuthError, Refused) as error:
                return oauth.answer_to(error)

        return await _served(world, request, account, name, {}, work)

    return serve


async def _served(
    world: World,
    request: web.Request,
    account: str,
    name: str,
    headers: dict[str, str],
    work: Callable[[], Awaitable[web.StreamResponse]],
    scopes: frozenset[str] = frozenset(),
) -> web.StreamResponse:
    """Do the work with latency and faults around it, and count the answer."""
    if world.options.latency:
        await asyncio.sleep(world.options.latency)
    fault = world.faults.take(account, name)
    try:
        if fault is not None:
            await request.read()
            if fault.kind == "hang":
                world.ledger.answered(account, name, 0)
                await asyncio.sleep(_HELD_SECONDS)
                return _cut(request)
            early = await _fail(fault, scopes)
            if early is not None:
                world.ledger.answered(account, name, early.status)
                return early
        response = await work()
        world.save()
        if fault is not None and fault.kind == "after-commit-reset":
            raise Dropped
    except Refused as refused:
        response = _refusal(refused, headers)
    except Dropped:
        world.ledger.answered(account, name, 0)
        return _cut(request)
    world.ledger.answered(request.get("account", account), name, response.status)
    return response


def _cut(request: web.Request) -> web.Response:
    """Reset the connection; what is returned reaches nobody."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


async def _fail(fault: Fault, scopes: frozenset[str]) -> web.StreamResponse | None:
    """What an ordered fault answers; None where the work is done after all. Raises Refused or Dropped."""
    seconds = 1.0 if fault.seconds is None else fault.seconds
    match fault.kind:
        case "429":
            raise throttled(1 if fault.retry_after is None else fault.retry_after)
        case "401":
            raise unauthorized()
        case "403":
            raise forbidden(sorted(scopes))
        case "500" | "503":
            after = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            problem = Problem("Something went wrong.", code="error", title="Server error.")
            raise Refused(int(fault.kind), problem, headers=after)
        case "html-403":
            return web.Response(
                status=403, text="<html><body><h1>Forbidden</h1></body></html>", content_type="text/html"
            )
        case "timeout":
            await asyncio.sleep(seconds)
            return web.Response(status=504, text="<html><body>Gateway timeout</body></html>", content_type="text/html")
        case "reset":
            raise Dropped
        case "slow":
            await asyncio.sleep(seconds)
    return None


async def _do(
    world: World, each: Endpoint, request: web.Request, grant: Grant | None, headers: dict[str, str]
) -> web.StreamResponse:
    if grant is None:
        raise unauthorized()
    headers.update(revisions.headers_for(request.headers.get("revision"), revisions.today()))
    now = time.time()
    limit = world.limits.take(grant.account, each.name, each.tier, now)
    stricter = each.stricter(request) if each.stricter else None
    if stricter is not None:
        limit = world.limits.take(grant.account, f"{each.name} (stricter)", stricter, now)
    headers.update(limit)
    missing = sorted(each.scopes - set(grant.scopes))
    if missing:
        raise forbidden(missing)
    body = await _body(request)
    reply: Reply = await each.handler(Call(world, world.accounts[grant.account], request, body, each.name))
    if reply.body is None:
        return web.Response(status=reply.status, headers=headers)
    return web.Response(status=reply.status, body=orjson.dumps(reply.body), content_type=_MEDIA_TYPE, headers=headers)


async def _body(request: web.Request) -> bytes:
    """The body of a writing call. Raises Refused: 415 for another media type, 413 over 5 MB."""
    if request.method == "GET":
        return b""
    if request.content_type not in {_MEDIA_TYPE, "application/json"}:
        problem = Problem(
            f"Unsupported media type {request.content_type!r}.",
            code="unsupported_media_type",
            title="Unsupported.",
        )
        raise Refused(415, problem)
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        body = b""
        too_large = True
    else:
        too_large = len(body) > MAX_BODY
    if too_large:
        raise Refused(413, Problem("The payload is larger than 5 MB.", code="payload_too_large", title="Too large."))
    return body
