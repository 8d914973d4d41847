"""The events lane: single calls while few wait (fresh, exact, idempotent), bulk calls as soon as many do."""
