"""The fields lane: several changes of one person become one write; few people one by one, many by an import job.

A person is in at most one unfinished write. Members of its batches are `[person id, fields_version, [delivery ids]]`.
"""
