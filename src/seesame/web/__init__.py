"""The web pages: their templates and what they are filled with."""
