"""What accepted calls do, as plain records: what has not happened yet is kept in the state file as it is."""

from __future__ import annotations

from typing import Any

import msgspec

from sandbox import consents, importing, ingest
from sandbox.state.world import World


class RecordEvents(msgspec.Struct, tag=True, gc=False):
    """Events of one person. `reading`: what an unknown profile id does."""

    account: str
    entry: ingest.Entry

    def apply(self, world: World) -> None:
        """Record them."""
        ingest.take_effect(world.accounts[self.account], self.entry, world.options.unknown_profile_id)


class Subscribe(msgspec.Struct, tag=True):
    """One person's subscription."""

    account: str
    email: str
    wish: consents.Wish

    def apply(self, world: World) -> None:
        """Subscribe, or ask for a confirmation."""
        consents.subscribe(world.accounts[self.account], self.email, self.wish)


class Unsubscribe(msgspec.Struct, tag=True):
    """One person's unsubscription, from a list or from everything."""

    account: str
    email: str
    list_id: str | None

    def apply(self, world: World) -> None:
        """Unsubscribe."""
        consents.unsubscribe(world.accounts[self.account], self.email, self.list_id)


class ImportProfiles(msgspec.Struct, tag=True):
    """A bulk import of profiles."""

    account: str
    job: str
    profiles: list[dict[str, Any]]

    def apply(self, world: World) -> None:
        """Import them."""
        importing.run(world.accounts[self.account], self.job, self.profiles)


AnyEffect = RecordEvents | Subscribe | Unsubscribe | ImportProfiles
