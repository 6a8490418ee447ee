"""Adapters that turn pictures into vectors: in this process or over HTTP."""
