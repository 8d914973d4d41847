"""The names of what several programs of ours look for in DATA_DIR. Imports nothing: some must start at once."""

EMBEDDED = "valkey.url"  # where the Valkey that `make run` started listens
