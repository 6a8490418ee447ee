"""Paths at which a process is watched. A module of its own: what only measures requests needs no FastAPI."""

HEALTH = frozenset({"/health", "/health/live", "/health/ready", "/metrics"})
