"""The delivery engine: what RQ runs.

A lane is the queue of one connection and kind of write. The sweeper wakes lanes with due work, a worker drains one
for a short time slice: claim it, then step after step (choose, look up, reserve budget and write the batch row, call
Klaviyo with no transaction open, record every outcome under the fence), then give it back.

Each kind of lane is one function `step(run) -> bool` (whether something was done), registered in `jobs.drain.STEPS`.
"""
