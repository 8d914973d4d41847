"""Sending again what failed or was skipped: counted, named, in bites."""
