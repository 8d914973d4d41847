"""Whether a person is on a list of Klaviyo's, for the tasks that read back."""

from __future__ import annotations

from jobs.tasks.run import TaskRun
from webapp.klaviyo import payloads
from webapp.klaviyo.parse import profiles
from webapp.klaviyo.readback import HeldProfile


def is_on_list(run: TaskRun, list_id: str | None, email: str, held: HeldProfile) -> bool | None:
    """None where there is no list, or it is gone: the subscription itself is what is left to read. Raises Hold."""
    if list_id is None:
        return None
    answer = run.call(payloads.list_members(list_id, [email]))
    if answer.status == 404:
        return None
    if not answer.ok:
        raise run.klaviyo.back_off()
    return held.id in {profile.id for profile in profiles(answer.json)}
