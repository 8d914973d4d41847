"""The domain: what may happen and what it means. Owns the transactions."""
