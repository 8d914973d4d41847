"""An owner who keeps changing settings, people who consent and change their minds: random, and written down."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select, update

from tests.faults.storm import STORES, World
from webapp.catalogue.words import SyncBehavior
from webapp.database import reading, writing
from webapp.forms.connections import Edit
from webapp.models import Connection
from webapp.services.connections import lifecycle
from webapp.services.connections import settings as connection_settings
from webapp.services.sharing import choices as sharing

UPDATES, CREATES = SyncBehavior.UPDATE_EXISTING, SyncBehavior.CREATE_PROFILE
PEOPLE = 20  # of each account
STRANGERS = (0, 5, 10, 15)  # every fifth is not in Klaviyo
OUT_BEFORE = (16, 17, 18)  # opted out in Klaviyo before anything is said here
TOGGLED_EVENTS = ("post_created", "challenge_completed")
TOGGLED_FIELDS = ("tier_name", "birthdate", "program_member")


@dataclass
class Owner:
    """`explicit`: (account, address) of real signups; `newest`: what was said last, by (account, address)."""

    world: World
    explicit: set[tuple[str, str]] = field(default_factory=set)
    newest: dict[tuple[str, str], tuple[datetime, str]] = field(default_factory=dict)
    written: dict[tuple[str, str], str] = field(default_factory=dict)
    lists: dict[str, str] = field(default_factory=dict)
    number: int = 0

    def connection(self, account: str) -> Connection:
        """A connection as it stands."""
        with reading() as session:
            return session.scalars(select(Connection).where(Connection.klaviyo_account_id == account)).one()

    def prepare(self) -> None:
        """Both accounts get a list of their own choosing; some people have opted out long ago, some just now."""
        for account in STORES:
            rows = self.world.stack.sandbox.lists(account).values()
            chosen = next(row for row in rows if row["opt_in_process"] == "single_opt_in")
            self.lists[account] = chosen["name"]
            with writing() as session:
                mine = update(Connection).where(Connection.klaviyo_account_id == account)
                session.execute(mine.values(list_id=chosen["id"], list_name=chosen["name"]))
            for number in OUT_BEFORE:
                email, now = self.world.address(account, number), datetime.now(UTC).isoformat()
                self.world.stack.sandbox.set_subscription(account, email, "UNSUBSCRIBED", at=now, reason="UNSUBSCRIBE")

    def behave(self, behavior: SyncBehavior) -> None:
        """Save another behavior for Norway's account, as the form does."""
        found = self.connection("ACCTNO")
        edit = Edit(found.row_version, found.store_id, behavior, found.list_id, keeps_list=True)
        connection_settings.save(self.world.workspace_id, found.id, 1, edit)

    def step(self, *, toggles: bool) -> None:
        """Something happens. `toggles`: Norway's behavior may change too."""
        choices = [self._activity, self._activity, self._leave, self._consent, self._consent, self._consent]
        choices += [self._share, self._pause, *([self._toggle] if toggles else [])]
        self.world.random.choice(choices)()

    def _post(self, account: str, kind: str, at: datetime, **rest: Any) -> tuple[str, str]:
        self.number += 1
        profile = rest.pop("profile", {})
        email = self.world.address(account, self._somebody())
        item = {
            "id": f"owner-{self.world.seed}-{self.number}",
            "type": kind,
            "store": STORES[account][0],
            "occurred_at": at.isoformat(),
            "profile": {"email": email, **profile},
            **rest,
        }
        self.world.stack.ingest(item)
        return account, email

    def _somebody(self) -> int:
        """A stranger to Klaviyo every third time: they are the ones who may or may not be created."""
        random = self.world.random
        return random.choice(STRANGERS) if random.random() < 1 / 3 else random.randrange(PEOPLE)

    def _now(self) -> datetime:
        """Grows with each activity, an hour ago."""
        return self.world.began + timedelta(seconds=self.number + 1)

    def _activity(self) -> None:
        """Points go up, in an event or alone; a field that is toggled goes along."""
        random, account = self.world.random, self.world.random.choice(list(STORES))
        points = self.number + 1
        fields: dict[str, Any] = {"points": points, "tier_name": random.choice(["Gold", "Silver", None])}
        rest: dict[str, Any] = {"profile": {"fields": fields}}
        kind = random.choice(["event", "profile"])
        if kind == "event":
            rest |= {"event": random.choice(["tier_earned", *TOGGLED_EVENTS]), "properties": {"n": points}}
        who = self._post(account, kind, self._now(), **rest)
        self.world.newest_points[who] = points
        self.written[who] = f"owner-{self.world.seed}-{self.number}"

    def _leave(self) -> None:
        """Somebody leaves the program, which clears their points whatever comes along."""
        rest = {"event": "member_left_program", "profile": {"fields": {"points": 99_999}}}
        who = self._post(self.world.random.choice(list(STORES)), "event", self._now(), **rest)
        self.world.newest_points[who] = None
        self.written[who] = f"owner-{self.world.seed}-{self.number}"

    def _consent(self) -> None:
        """A consent of the last hour, explicit or a notice, or a withdrawal, in any order."""
        random = self.world.random
        state = random.choice(["subscribed", "subscribed", "unsubscribed"])
        collected_by = random.choice(["checkbox", "newsletter_activity", "notice"])
        at = datetime.now(UTC) - timedelta(seconds=random.randrange(300, 3600), microseconds=random.randrange(10**6))
        body: dict[str, Any] = {"channel": "email", "state": state, "source": "test"}
        if state == "subscribed":
            body["collected_by"] = collected_by
        who = self._post(random.choice(list(STORES)), "consent", at, consent=body)
        if state == "subscribed" and collected_by == "notice":
            return
        if state == "subscribed":
            self.explicit.add(who)
        if who not in self.newest or at > self.newest[who][0]:
            self.newest[who] = (at, state)

    def _share(self) -> None:
        """Some events and fields are turned on or off; points stay on."""
        random, workspace_id = self.world.random, self.world.workspace_id
        events = {"tier_earned", "member_left_program"} | {key for key in TOGGLED_EVENTS if random.random() < 0.5}
        sharing.choose_events(workspace_id, 1, events)
        sharing.choose_fields(workspace_id, 1, {"points", *(key for key in TOGGLED_FIELDS if random.random() < 0.5)})

    def _pause(self) -> None:
        """One connection is paused, or goes on."""
        found = self.connection(self.world.random.choice(list(STORES)))
        lifecycle.pause(self.world.workspace_id, found.id, 1, on=not found.is_paused)

    def _toggle(self) -> None:
        self.behave(UPDATES if self.connection("ACCTNO").sync_behavior is CREATES else CREATES)

    def let_all_go_on(self) -> None:
        """Nothing is paused any more."""
        for account in STORES:
            found = self.connection(account)
            if found.is_paused:
                lifecycle.pause(self.world.workspace_id, found.id, 1, on=False)
