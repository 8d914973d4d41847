"""Changing the key that stored tokens are encrypted with.

First the new key is put in front of TOKEN_KEYS and everything is started anew, so that no process writes with the old
one; then `flask rotate-keys`; then the old key is taken away.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from webapp.crypto import CannotDecrypt, key_id_of
from webapp.database import affected, run_writing
from webapp.extensions import key_ring
from webapp.models import Authorization, Grant
from webapp.services import audit

BITE = 200
FIELDS = ("access_token", "refresh_token")


@dataclass(slots=True)
class Rotated:
    """What a rotation did. `unreadable`: ids of the connections whose tokens no key of ours opens."""

    grants: int = 0
    kept: int = 0
    authorizations: int = 0
    unreadable: list[int] = field(default_factory=list)


def rotate(bite: int = BITE) -> Rotated:
    """Encrypt every grant with the newest key, `bite` grants a transaction; unfinished authorizations just go.

    It can be stopped and run again at any time. A grant refreshed meanwhile is met before or after its refresh: the row
    is locked while it is read and written, and its version, by which refreshes are settled, stays.
    """
    result, last_id = Rotated(), 0
    while True:
        part, last_id = _one_bite(last_id, bite)
        result.grants += part.grants
        result.kept += part.kept
        result.unreadable += part.unreadable
        if not last_id:
            break
    result.authorizations = run_writing(lambda session: _finish(session, result.grants))
    return result


def _one_bite(after_id: int, bite: int) -> tuple[Rotated, int]:
    """What became of the next grants, and the last one's id; 0 where there were none."""

    def work(session: Session) -> tuple[Rotated, int]:
        part = Rotated()
        statement = select(Grant).where(Grant.id > after_id).order_by(Grant.id).limit(bite).with_for_update()
        grants = session.scalars(statement).all()
        for grant in grants:
            try:
                changed = _renew(grant)
            except CannotDecrypt:
                part.unreadable.append(grant.connection_id)
                continue
            part.grants += changed
            part.kept += not changed
        return part, grants[-1].id if grants else 0

    return run_writing(work)


def _renew(grant: Grant) -> bool:
    ring, row = key_ring(), f"grant:{grant.connection_id}"
    opened = {name: ring.decrypt(getattr(grant, name), row=row, field=name) for name in FIELDS}
    old = [name for name in FIELDS if key_id_of(getattr(grant, name)) != ring.newest_id]
    for name in old:
        setattr(grant, name, ring.encrypt(opened[name], row=row, field=name))
    return bool(old)


def _finish(session: Session, grants: int) -> int:
    newest = key_ring().newest_id
    # They last ten minutes, and whoever was on the way presses the button again.
    dropped = affected(session, delete(Authorization).where(Authorization.verifier.not_like(f"v1.{newest}.%")))
    audit.record(
        session,
        workspace_id=None,
        actor_id=None,
        action="token_keys.rotated",
        subject=("token_key", newest),
        after={"grants": grants, "authorizations": dropped},
    )
    return dropped
