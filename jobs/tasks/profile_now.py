"""Kind `profile_now`: what Klaviyo has of a person. Arguments: `person`. The answer is the result, and kept shortly."""

from __future__ import annotations

from dataclasses import asdict

from jobs.tasks.run import TaskProblem, TaskRun
from webapp.database import reading
from webapp.klaviyo import payloads, readback
from webapp.klaviyo.parse import profiles
from webapp.klaviyo.readback import HeldProfile
from webapp.models import Person
from webapp.services.workspaces import snapshot


def step(run: TaskRun) -> bool:
    """One look-up; the list's membership too where the connection has a list."""
    with reading() as session:
        person = session.get(Person, run.task.arguments["person"])
        settings = snapshot.load(session, run.task.workspace_id)
    if person is None or person.email is None:
        raise TaskProblem("This person was erased.")
    answer = run.call(readback.profile(person.email))
    if not answer.ok:
        raise run.klaviyo.back_off()
    held = readback.held_profile(answer.json)
    ours = {field.property for field in settings.fields.values()}
    result: dict[str, object] = {"found": held is not None}
    if held is not None:
        result |= {**asdict(held), "email": None, "suppressed": list(held.suppressed)}
        result["properties"] = {name: value for name, value in held.properties.items() if name in ours}
        result["on_list"] = _on_list(run, person.email, held)
    run.write(lambda session: run.save(session, result=result))
    return False


def _on_list(run: TaskRun, email: str, held: HeldProfile) -> bool | None:
    """Whether the person is on the connection's list; None where it has none, or the list is gone."""
    if run.connection.list_id is None:
        return None
    answer = run.call(payloads.list_members(run.connection.list_id, [email]))
    if answer.status == 404:
        return None
    if not answer.ok:
        raise run.klaviyo.back_off()
    return held.id in {profile.id for profile in profiles(answer.json)}
