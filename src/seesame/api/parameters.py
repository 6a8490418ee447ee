"""What several endpoints take: the services, and parameters of the URL."""

from typing import Annotated

from fastapi import Depends, Query, Request

from seesame.api.forms import MAX_FIELD_BYTES, clauses_of
from seesame.application import Application
from seesame.types import Clause


def _application(request: Request) -> Application:
    application: Application = request.app.state.application
    return application


def _written_filter(
    filter: Annotated[  # noqa: A002 - the name of the parameter in the URL
        str | None, Query(max_length=MAX_FIELD_BYTES, description="Conditions as JSON.")
    ] = None,
) -> tuple[Clause, ...]:
    return clauses_of(filter)


App = Annotated[Application, Depends(_application)]
Clauses = Annotated[tuple[Clause, ...], Depends(_written_filter)]
FacetNames = Annotated[str | None, Query(max_length=1_000, description="Fields, parted by commas.")]
