"""What several endpoints take: the services, and parameters of the URL."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Query, Request
from starlette.convertors import Convertor, register_url_convertor

from seesame.api.forms import clauses_of
from seesame.application import Application
from seesame.queries import MAX_CURSOR, MAX_LIMIT, MAX_OFFSET
from seesame.types import Clause

_MAX_FILTER = 16_000  # characters; of a line with more the server would not read the end


class _ProductIdConvertor(Convertor[str]):
    """A product's id may hold slashes, but what follows is a path of its own; `check_product` refuses such an id."""

    regex = r".+(?<!/images)(?<!/similar)(?<!/images/[0-9A-Fa-f-]{36})"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("product_id", _ProductIdConvertor())


def _application(request: Request) -> Application:
    application: Application = request.app.state.application
    return application


def _written_filter(
    filter: Annotated[  # noqa: A002 - the name of the parameter in the URL
        str | None,
        Query(max_length=_MAX_FILTER, description="Conditions as JSON.", examples=['{"price": {"lte": 50}}']),
    ] = None,
) -> tuple[Clause, ...]:
    return clauses_of(filter)


App = Annotated[Application, Depends(_application)]
Clauses = Annotated[tuple[Clause, ...], Depends(_written_filter)]
FacetNames = Annotated[
    str | None, Query(max_length=1_000, description="Fields, parted by commas.", examples=["brand,attributes.color"])
]
Cursor = Annotated[
    str | None, Query(max_length=MAX_CURSOR, description="The `next` of an earlier answer: the page that follows it.")
]
PageLimit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]
PageOffset = Annotated[int, Query(ge=0, le=MAX_OFFSET)]
ProductId = Annotated[str, Path(examples=["UMB-005"])]
ImageId = Annotated[UUID, Path(examples=["8c2e1f5a-3a53-5d0e-9f6b-0e6a4f1c7d21"])]
SpaceKey = Annotated[str, Path(examples=["vit-b-32-laion2b@3f2a9c41"])]
