"""Pages from templates. Whatever goes into one is escaped."""

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
    env.filters.update(filters)
    return env
