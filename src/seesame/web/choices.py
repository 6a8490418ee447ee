"""What the products can be narrowed by: fields, and under each the values to choose among."""

from collections.abc import Mapping
from dataclasses import dataclass

from seesame.answers import Facets
from seesame.db.filters import ATTRIBUTE


@dataclass(frozen=True, slots=True)
class Option:
    """A value as it is sent and as it is shown, and how many products have it."""

    value: str
    label: str
    count: int
    chosen: bool


@dataclass(frozen=True, slots=True)
class Field:
    """A field with its values, the most frequent first."""

    name: str
    label: str
    options: tuple[Option, ...]

    @property
    def chosen(self) -> int:
        """How many of its values are chosen."""
        return sum(option.chosen for option in self.options)


def fields_of(facets: Facets, chosen: Mapping[str, tuple[str, ...]]) -> list[Field]:
    """The fields that leave a choice; whatever is chosen already is among their values, even where nothing has it."""
    fields = []
    for name in dict.fromkeys((*facets, *chosen)):
        wanted = chosen.get(name, ())
        options = [Option(_sent(v), _shown(v), count, _sent(v) in wanted) for v, count in facets.get(name, ())]
        known = {option.value for option in options}
        options += [Option(value, value, 0, True) for value in wanted if value not in known]
        if len(options) > 1 or wanted:
            fields.append(Field(name, label_of(name), tuple(options)))
    return fields


def label_of(field: str) -> str:
    """A field's name for people."""
    words = field.removeprefix(ATTRIBUTE).replace("_", " ")
    return words[:1].upper() + words[1:]


def _sent(value: str | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shown(value: str | float | bool) -> str:
    return ("Yes" if value else "No") if isinstance(value, bool) else str(value)
