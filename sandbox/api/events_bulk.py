"""POST /api/event-bulk-create-jobs: up to 1,000 events, refused whole for one that is wrong."""

from __future__ import annotations

from sandbox import ingest
from sandbox.api.event_reader import MAX_EVENTS, read_events
from sandbox.api.events import entry_of, event_of
from sandbox.bodies import EVENTS_BULK, checked
from sandbox.effects import RecordEvents
from sandbox.endpoints import Call, Reply, endpoint
from sandbox.errors import invalid
from sandbox.limits import M
from sandbox.state.account import Account, normalized


def _read_slowly(body: bytes) -> list[ingest.Entry]:
    """The entries of a body. Raises Refused (400) pointing at everything that is wrong."""
    found = []
    entries = checked(body, EVENTS_BULK)["data"]["attributes"]["events-bulk-create"]["data"]
    for place, entry in enumerate(entries):
        attributes = entry["attributes"]
        pointer = f"/data/attributes/events-bulk-create/data/{place}/attributes/events/data"
        backfill = bool(attributes.get("backfill"))
        events = [
            event_of(event["attributes"], f"{pointer}/{number}/attributes", backfill=backfill)
            for number, event in enumerate(attributes["events"]["data"])
        ]
        data = attributes["profile"]["data"]
        found.append(entry_of(data, events, data.get("meta")))
    return found


def _check_unique_ids(account: Account, entries: list[ingest.Entry], *, ever: bool) -> None:
    """Raise Refused (400) where a unique id is repeated: in this call, or `ever` before it."""
    keys: set[tuple[str, str, str]] = set()
    for place, entry in enumerate(entries):
        profile = ingest.known(account, entry)
        said = entry.attributes
        who = profile.id if profile else entry.profile_id or normalized(said.get("email") or str(said))
        for number, event in enumerate(entry.events):
            if event.unique_id is None:
                continue
            key = (who, event.metric, event.unique_id)
            repeated = key in keys
            if ever and not repeated and profile is not None:
                metric = account.known_metric(event.metric)
                repeated = metric is not None and account.events.has(profile.number, metric.number, event.unique_id)
            if repeated:
                raise invalid(
                    f"The unique_id {event.unique_id!r} is repeated for the same profile and metric.",
                    f"/data/attributes/events-bulk-create/data/{place}/attributes/events/data/{number}"
                    "/attributes/unique_id",
                )
            keys.add(key)


@endpoint("POST /api/event-bulk-create-jobs", "events:write", M)
async def create_events(call: Call) -> Reply:
    """Accept up to 1,000 events over all entries."""
    account, options = call.account, call.world.options
    entries = read_events(account, call.body)
    if entries is None:
        entries = _read_slowly(call.body)
    count = sum(len(entry.events) for entry in entries)
    if count > MAX_EVENTS:
        raise invalid(f"At most {MAX_EVENTS} events a call, not {count}.", "/data/attributes/events-bulk-create/data")
    _check_unique_ids(account, entries, ever=options.repeated_unique_id == "ever")
    reading = options.unknown_profile_id
    if reading == "reject":
        for place, entry in enumerate(entries):
            pointer = f"/data/attributes/events-bulk-create/data/{place}/attributes/profile/data/id"
            ingest.check_profile_id(account, entry, pointer)
    effects = (RecordEvents(account.id, entry) for entry in entries)
    call.world.accept(account, call.name, effects, at_once=True)
    return Reply(202)
