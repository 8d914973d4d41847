"""The tenant: stores, members, sign-in, ingest keys, and its settings as one snapshot."""
