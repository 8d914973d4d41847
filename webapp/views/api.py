"""The ingest API: the platform posts what happened and asks what became of it."""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from io import BytesIO
from typing import Any

import orjson
from flask import Blueprint, Response, jsonify, request
from flask.sansio.blueprints import BlueprintSetupState
from flask.typing import ResponseReturnValue
from werkzeug.routing import PathConverter

from webapp.extensions import csrf
from webapp.forms import json_text
from webapp.forms.activities import ID, Refused
from webapp.forms.settings import EMAIL, EXTERNAL_ID, STORE_NAME, is_line
from webapp.http.access import by_ingest_key
from webapp.http.errors import problem
from webapp.services.activities import ingest
from webapp.services.deliveries import activity_status
from webapp.services.workspaces import ingest_keys, stores

blueprint = Blueprint("api", __name__, url_prefix="/api/v1")
csrf.exempt(blueprint)

BODY_BYTES = 5_000_000
ACTIVITIES = 1_000
NDJSON = "application/x-ndjson"


class AnyText(PathConverter):
    """The rest of the path, whatever it holds: the ids of others may have slashes anywhere."""

    regex = "(?s:.+)"
    part_isolating = False  # it holds slashes, which this regex does not show


@blueprint.record_once
def _know_any_text(state: BlueprintSetupState) -> None:
    state.app.url_map.converters["text"] = AnyText


class Unusable(Exception):
    """The call as a whole cannot be read: an answer with `status`."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@blueprint.errorhandler(Unusable)
def unusable(error: Unusable) -> ResponseReturnValue:
    """Say what is wrong with the call."""
    return problem(error.status, str(error), headers={"WWW-Authenticate": "Bearer"} if error.status == 401 else {})


def _workspace_id() -> int:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    found = ingest_keys.workspace_of(key.strip()) if scheme.lower() == "bearer" and key else None
    if found is None:
        raise Unusable(401, "The ingest key is missing, unknown or revoked.")
    return found


@blueprint.post("/activities")
@by_ingest_key
def post() -> ResponseReturnValue:
    """Up to 1,000 activities, JSON or NDJSON, gzip or not."""
    workspace_id = _workspace_id()
    items = _items()
    wait = ingest_keys.take(workspace_id, len(items))
    if wait:
        return problem(429, "Too fast. Wait, then send again.", headers={"Retry-After": str(wait)})
    result = ingest.accept(workspace_id, items)
    body = {"accepted": result.accepted, "duplicates": result.duplicates, "rejected": result.rejected}
    if items and len(result.rejected) == len(items):
        return problem(422, "None of the activities can be accepted.", more=body)
    return jsonify(body), 202


def _items() -> list[Any]:
    body = _body()
    if request.mimetype == NDJSON:
        lines = [line for line in body.splitlines() if line.strip()]
        _check_number(len(lines))  # before any is read: a small gzip body holds half a million of them
        return [_line(line) for line in lines]
    try:
        return _activities(json_text.parse(body))
    except json_text.NotJSON:
        pass
    try:
        found = _activities(json_text.parse_leniently(body))
    except json_text.NotJSON:
        raise Unusable(400, f"The body is not JSON. One activity a line is taken as {NDJSON}.") from None
    return [_readable(each) for each in found]


def _activities(parsed: Any) -> list[Any]:
    if not isinstance(parsed, dict) or not isinstance(parsed.get("activities"), list):
        raise Unusable(400, 'The body must be an object such as {"activities": [...]}.')
    found: list[Any] = parsed["activities"]
    _check_number(len(found))
    return found


def _check_number(number: int) -> None:
    if number > ACTIVITIES:
        raise Unusable(413, f"A call may hold {ACTIVITIES:,} activities; this one has {number:,}.")


def _readable(item: Any) -> Any:
    try:
        return json_text.parse(json.dumps(item).encode())
    except json_text.NotJSON:
        identity = item.get("id") if isinstance(item, dict) else None
        return Refused("a number in it is too large", identity if isinstance(identity, str) else None)


def _line(line: bytes) -> Any:
    try:
        return json_text.parse(line)
    except json_text.NotJSON:
        return Refused("this line is not JSON")


def _body() -> bytes:
    """The body, unpacked; never more than 5 MB of it, however well it was packed."""
    body = request.get_data(cache=False)
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in {"gzip", "x-gzip"}:
        body = _unpacked(body)
    elif encoding != "identity":
        raise Unusable(415, "Content-Encoding may be gzip or none.")
    if len(body) > BODY_BYTES:
        raise Unusable(413, "A call may hold 5 MB.")
    return body.removeprefix(codecs.BOM_UTF8)  # Windows begins files with it; it would spoil the first line


def _unpacked(packed: bytes) -> bytes:
    """Every member of a gzip body (whoever packs while reading may send several), up to a byte more than is taken."""
    try:
        with gzip.GzipFile(fileobj=BytesIO(packed)) as body:
            return body.read(BODY_BYTES + 1)
    except EOFError:
        raise Unusable(400, "The gzip body is cut off.") from None
    except (OSError, zlib.error):
        raise Unusable(400, "The body is not gzip, though Content-Encoding says so.") from None


def _object() -> dict[str, Any]:
    """A small call's body, an object; empty where it is another kind of JSON."""
    try:
        parsed = json_text.parse(_body())
    except json_text.NotJSON:
        raise Unusable(400, "The body is not JSON.") from None
    return parsed if isinstance(parsed, dict) else {}


@blueprint.get("/activities/<text:activity_id>")
@by_ingest_key
def show(activity_id: str) -> ResponseReturnValue:
    """What became of one activity."""
    workspace_id = _workspace_id()
    found = activity_status.of(workspace_id, activity_id) if ID.match(activity_id) else None
    if found is None:
        return problem(404, "This workspace has no activity with that id.")
    return Response(orjson.dumps(found), content_type="application/json")


@blueprint.put("/stores/<text:external_id>")
@by_ingest_key
def put_store(external_id: str) -> ResponseReturnValue:
    """Add a store, or rename it."""
    workspace_id = _workspace_id()
    name = _object().get("name")
    if not is_line(external_id, EXTERNAL_ID):
        return problem(422, f"The store's id must be one line of up to {EXTERNAL_ID} characters.")
    if not isinstance(name, str) or not is_line(name.strip(), STORE_NAME):
        return problem(422, f"name is required: one line of up to {STORE_NAME} characters.")
    made = stores.put(workspace_id, external_id, name.strip())
    return jsonify({"id": external_id, "name": name.strip()}), 201 if made else 200


@blueprint.post("/erasures")
@by_ingest_key
def erase() -> ResponseReturnValue:
    """Blank a person and every payload of theirs."""
    from webapp.services.tracing import erasures

    workspace_id = _workspace_id()
    email = _object().get("email")
    if (
        not isinstance(email, str)
        or "@" not in email
        or json_text.REPLACED in email
        or not is_line(email.strip(), EMAIL)
    ):
        return problem(422, "email is required: a whole address, such as ada@example.com.")
    return jsonify(erasures.erase(workspace_id, email.strip().lower(), actor_id=None))
