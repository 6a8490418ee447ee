"""Visual search for the product catalogue that a shop keeps in PostgreSQL."""

import os

__version__ = "0.1.0"

# ONNX Runtime reports its use to its makers, and keeps a database for that in the user's cache, unless it is told not
# to before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
