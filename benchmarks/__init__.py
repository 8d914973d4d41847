"""Measurements of the running product, as real processes on this machine."""
