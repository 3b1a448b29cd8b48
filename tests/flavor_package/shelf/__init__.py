"""Artifacts of a small team in one SQLite file."""
