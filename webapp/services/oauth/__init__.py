"""The access a connection has: its grant, what the granted scopes make possible, the keys that encrypt it."""
