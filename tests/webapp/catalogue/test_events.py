"""The events file: an event is one entry; a mistake stops the start with a sentence; payloads are typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from webapp.catalogue import events
from webapp.catalogue.events import COMMON, EVENTS

PACKAGED = Path(events.__file__).parent / "events.toml"
REVIEW = """
[review_written]
title = "Review Written"
group = "UGC"
use = "Thank people for their review."
fires = "A person writes a review."
payload = { reviewId = "text", stars = "number", verified = "boolean?", photos = "list of text" }
"""


def one(tmp_path: Path, text: str) -> dict[str, events.Event]:
    path = tmp_path / "events.toml"
    path.write_text(text)
    return events.load(path)


def test_adding_an_event_is_one_entry(tmp_path: Path) -> None:
    found = one(tmp_path, PACKAGED.read_text() + REVIEW)
    assert found.keys() - EVENTS.keys() == {"review_written"}
    review = found["review_written"]
    assert review.metric == "Cevoid: Review Written"
    assert review.sample() == {"reviewId": "example", "stars": 120, "verified": None, "photos": []}
    assert review.problem({"stars": 5, "somethingElse": {"any": "thing"}}) is None
    assert review.problem({"stars": "five"}) == "properties.stars must be a finite number"
    assert review.schema()["properties"]["verified"] == {"type": ["boolean", "null"]}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (('group = "UGC"', 'group = "other"'), "review_written has the unknown group other"),
        (('stars = "number"', 'stars = "numbr"'), "review_written.stars has the unknown type numbr"),
        (('"list of text"', '"list of gifts"'), "review_written.photos has the unknown type list of gifts"),
        (("[review_written]", "[Review-Written]"), "Review-Written must be lower-case"),
        (('use = "Thank people for their review."', ""), "review_written lacks use"),
        (("use =", "colour = 1\nuse ="), "review_written has colour, which means nothing"),
        (("reviewId", "eventId"), "review_written.eventId is common to every event"),
        (("reviewId", '"review id"'), "review_written.review id must be letters"),
        (("Review Written", "Post Created"), "the title Post Created is there twice"),
        (('stars = "number"', 'stars = { type = "number", sample = "five" }'), "properties.stars must be a finite"),
        (('stars = "number"', 'stars = { type = "number", first_of = "photos.stars" }'), "copies what is not there"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, change: tuple[str, str], sentence: str) -> None:
    with pytest.raises(ValueError, match=r"events\.toml") as caught:
        one(tmp_path, PACKAGED.read_text() + REVIEW.replace(*change))
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("event", "properties", "sentence"),
    [
        ("reward_fulfilled", {"rewards": {}}, "properties.rewards must be a list"),
        ("reward_fulfilled", {"rewards": ["a"]}, "properties.rewards[0] must be an object"),
        ("reward_fulfilled", {"rewards": [{}, {"points": "9"}]}, "properties.rewards[1].points must be a finite"),
        ("reward_fulfilled", {"rewards": [{"title": None}]}, "properties.rewards[0].title may not be null"),
        ("reward_fulfilled", {"sourceId": 7}, "properties.sourceId must be text"),
        ("post_created", {"productIds": ["p", 1]}, "properties.productIds[1] must be text"),
        ("post_created", {"mediaUrl": "ftp://x"}, "properties.mediaUrl must be a web address"),
        ("post_created", {"postId": None}, "properties.postId may not be null"),
        ("points_expiring", {"pointsBalance": True}, "properties.pointsBalance must be a finite number"),
        ("points_expiring", {"expiresAt": "tomorrow"}, "properties.expiresAt must be an ISO 8601 time"),
        ("member_joined_program", {"hasJoinedProgram": "yes"}, "properties.hasJoinedProgram must be true or false"),
        ("tier_earned", {f"x{n}": n for n in range(381)}, "properties has more than 380 entries"),
    ],
)
def test_a_wrong_payload_is_named(event: str, properties: dict[str, Any], sentence: str) -> None:
    assert sentence in str(EVENTS[event].problem(properties))


def test_every_sample_is_right_and_flat_values_come_first() -> None:
    for event in EVENTS.values():
        assert event.problem(event.sample()) is None
        assert not COMMON.keys() & event.sample().keys()
        flat = [not isinstance(value, list | dict) for value in event.sample().values()]
        assert flat == sorted(flat, reverse=True), event.key


def test_the_first_reward_is_copied_flat_where_it_is_not_sent() -> None:
    event = EVENTS["reward_fulfilled"]
    rewards = [{"type": "points", "title": "50 points", "discountCode": None}, {"type": "badge"}]
    done = event.completed({"source": "tier", "rewards": rewards})
    assert done == {"rewardType": "points", "rewardTitle": "50 points", "source": "tier", "rewards": rewards}
    sent = {"rewardType": "custom", "rewards": rewards}
    assert event.completed(sent)["rewardType"] == "custom"
    assert event.completed({"rewards": []}) == {"rewards": []}
    assert event.completed({}) == {}
