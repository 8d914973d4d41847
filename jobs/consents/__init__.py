"""The consents lane: what a person said about the newsletter, in the order they said it."""
