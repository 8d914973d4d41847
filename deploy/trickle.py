"""A gentle trickle of demo activity, posted over HTTP as the platform would: `python -m deploy.trickle`."""

from __future__ import annotations

import os
import random
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import requests

EVERY_SECONDS = 4.0
PEOPLE = {
    "se": ("ada", "alma", "astrid", "elias", "saga"),
    "no": ("ada", "anders", "frida", "ingrid", "lars"),
    "de": ("ada", "clara", "emil", "greta", "leo"),
}
KEY = "demo-ingest-key"


def activity(chance: random.Random) -> dict[str, Any]:
    """One activity of somebody who is in the demo's Klaviyo accounts."""
    points = chance.randrange(10, 2000, 10)
    store = chance.choice(tuple(PEOPLE))
    common = {
        "id": f"trickle-{uuid.uuid4()}",
        "store": store,
        "occurred_at": datetime.now(UTC).isoformat(),
        "profile": {
            "email": f"{chance.choice(PEOPLE[store])}@example.com",
            "fields": {"points": points, "program_member": True},
        },
    }
    if chance.random() < 0.3:
        return {**common, "type": "profile"}
    event, properties = chance.choice(
        (
            ("challenge_completed", {"challengeId": "c-1", "challengeTitle": "Show your look", "points": 50}),
            ("reward_fulfilled", {"source": "activity", "sourceId": "a-1", "sourceTitle": "A review"}),
            ("tier_earned", {"tierId": "gold", "tierName": "Gold"}),
            ("post_created", {"postId": "p-1", "source": "upload_form", "mediaType": "image"}),
        )
    )
    return {**common, "type": "event", "event": event, "properties": properties}


def main() -> None:
    """Post one every few seconds, for as long as the web process answers; it may be away for a while."""
    chance = random.Random()  # noqa: S311 - a demo's variety
    url = f"http://127.0.0.1:{os.environ.get('PORT', '8000')}/api/v1/activities"
    while True:
        time.sleep(EVERY_SECONDS * chance.uniform(0.5, 1.5))
        try:
            body = {"activities": [activity(chance)]}
            requests.post(url, json=body, headers={"Authorization": f"Bearer {KEY}"}, timeout=10)
        except requests.RequestException:
            time.sleep(EVERY_SECONDS)


if __name__ == "__main__":
    main()
