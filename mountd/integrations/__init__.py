"""Ties to other tools; each module imports its tool and nothing else does."""
