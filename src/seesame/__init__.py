"""Visual search for the product catalogue that a shop keeps in PostgreSQL."""

__version__ = "0.1.0"
