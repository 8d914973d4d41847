"""What a new owner does, through real processes: sign in, Enable, Allow, and an activity arrives in Klaviyo."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browsing import TABLE, enable, sign_in
from tests.processes import wait_for
from tests.stack import running


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_an_owner_enables_klaviyo_and_an_activity_arrives(backend: str, tmp_path: Path) -> None:
    with running(tmp_path, backend=backend) as stack:
        browser = sign_in(stack)
        page = enable(stack, browser)
        assert "Acme SE is connected." in page
        assert "Delivering" in page
        before = len(stack.sandbox.events("ACCTSE"))
        answer = stack.ingest(
            {
                "id": "joined-1",
                "type": "event",
                "event": "member_joined_program",
                "store": "se",
                "occurred_at": "2026-11-23T10:00:00Z",
                "profile": {"email": "ada@example.com", "fields": {"points": 120}},
                "properties": {"shortId": "123456"},
            },
            {
                "id": "joined-2",
                "type": "event",
                "event": "member_joined_program",
                "store": "se",
                "occurred_at": "2026-11-23T10:00:00Z",
                "profile": {"email": "nobody-there@example.com"},
            },
        )
        assert answer["accepted"] == 2
        wait_for(lambda: len(stack.sandbox.events("ACCTSE")) > before, "the event in Klaviyo", 15)
        event = stack.sandbox.events("ACCTSE")[-1]
        assert event["email"] == "ada@example.com"
        assert event["metric"] == "Cevoid: Member Joined Program"

        def statuses(activity: str) -> dict[str, tuple[str, str]]:
            found = stack.activity(activity)["deliveries"]
            return {row["kind"]: (row["status"], row["reason"]) for row in found}

        delivered = {"event": ("delivered", "written"), "fields": ("delivered", "written")}
        wait_for(lambda: statuses("joined-1") == delivered, "both deliveries", 15)
        skipped = {"event": ("skipped", "not_in_klaviyo"), "fields": ("skipped", "not_in_klaviyo")}
        wait_for(lambda: statuses("joined-2") == skipped, "nobody is created", 15)
        assert "nobody-there@example.com" not in stack.sandbox.profiles("ACCTSE")
        assert stack.sandbox.profiles("ACCTSE")["ada@example.com"]["properties"]["Cevoid: Points"] == 120
        row = browser.get(f"{stack.url}{TABLE}", timeout=10).text
        assert "2 delivered" in row
