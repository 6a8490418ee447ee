"""Pages from templates. Whatever goes into one is escaped."""

from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined


def environment(**filters: object) -> Environment:
    """An environment for the templates of `seesame.web`. A name that is missing is an error, not nothing."""
    env = Environment(
        loader=PackageLoader("seesame.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    env.filters.update({"price": _price, "web_address": _web_address} | filters)
    return env


def _price(product: dict[str, Any]) -> str:
    """As every language reads it; a script writes it as the browser's does."""
    if product["price"] is None:
        return ""
    price = Decimal(str(product["price"]))
    written = f"{price:,f}" if price == price.to_integral_value() else f"{price:,.2f}"
    return f"{written.removesuffix('.0')} {product['currency'] or ''}".strip()


def _web_address(text: str | None) -> str | None:
    """The address, if a browser may be sent there."""
    try:
        parts = urlsplit(text or "")
    except ValueError:
        return None
    return text if parts.scheme in ("http", "https") and parts.netloc else None
