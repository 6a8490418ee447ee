"""The named colours that the sample products come in, and the pairs that patterns use."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

COLOURS = {
    "white": "#f4f2ec",
    "cream": "#efe2c8",
    "sand": "#d6bd95",
    "camel": "#bd8a52",
    "brown": "#6f4930",
    "black": "#2b2b30",
    "charcoal": "#4c4f57",
    "grey": "#a3a6ab",
    "navy": "#26365c",
    "blue": "#2f62b8",
    "denim": "#54779f",
    "sky blue": "#92c3e6",
    "turquoise": "#38b3b5",
    "teal": "#1f7678",
    "green": "#2f6b4b",
    "olive": "#74763f",
    "sage": "#a3b89d",
    "mint": "#abdcc6",
    "mustard": "#d9a02c",
    "yellow": "#f4cf4c",
    "orange": "#ea8632",
    "rust": "#b6532d",
    "coral": "#f07c63",
    "red": "#c8322f",
    "burgundy": "#76233a",
    "pink": "#efacbb",
    "fuchsia": "#cf3d84",
    "lavender": "#b9a8dc",
    "purple": "#6c4896",
}

PAIRS = (
    ("navy", "white"),
    ("white", "navy"),
    ("red", "white"),
    ("cream", "red"),
    ("black", "cream"),
    ("white", "black"),
    ("green", "cream"),
    ("mustard", "navy"),
    ("coral", "cream"),
    ("sky blue", "white"),
    ("pink", "burgundy"),
    ("burgundy", "pink"),
    ("teal", "mustard"),
    ("lavender", "purple"),
    ("olive", "sand"),
    ("rust", "cream"),
    ("yellow", "white"),
    ("blue", "sky blue"),
    ("turquoise", "white"),
    ("mint", "green"),
    ("fuchsia", "pink"),
    ("grey", "charcoal"),
    ("orange", "cream"),
    ("purple", "lavender"),
)


def rgb(colour: str) -> NDArray[np.floating[Any]]:
    """A colour's red, green and blue, 0 to 1, from its name or `#rrggbb`."""
    digits = COLOURS.get(colour, colour).removeprefix("#")
    return np.frombuffer(bytes.fromhex(digits), np.uint8).astype(np.float32) / 255
