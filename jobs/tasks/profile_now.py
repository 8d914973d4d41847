"""Kind `profile_now`: what Klaviyo has of a person. Arguments: `person`. The answer is the result, and kept shortly."""

from __future__ import annotations

from dataclasses import asdict

from jobs.tasks.membership import is_on_list
from jobs.tasks.run import TaskProblem, TaskRun
from webapp.database import reading
from webapp.klaviyo import readback
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
        result["on_list"] = is_on_list(run, run.connection.list_id, person.email, held)
    run.write(lambda session: run.save(session, result=result))
    return False
