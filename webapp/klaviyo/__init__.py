"""Klaviyo, the vendor: endpoints, bodies, answers, limits, OAuth. Importable without Flask or a database."""
