"""What pages ask of Klaviyo, and long work, a bite at a time in a connection's tasks lane.

A kind of task is one function `step(run: TaskRun) -> bool` (whether more is to do), registered in `jobs.tasks.kinds`.
It reads where it stands from `run.task.cursor`, does a bite of at most about a second, and ends it with one
`run.write(...)` in which `run.save(session, ...)` stores the new cursor, progress and result: a worker killed at any
instruction goes on from the last bite.
"""
