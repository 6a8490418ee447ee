"""What requests hold and what replies look like. Vectors are not validated again on their way out."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MAX_BATCH = 32
MAX_TEXT = 1_000  # characters

Text = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT)]


class TextsIn(BaseModel):
    """Words to embed."""

    model_config = ConfigDict(extra="forbid")

    texts: list[Text] = Field(min_length=1, max_length=MAX_BATCH, examples=[["a red summer dress", "hiking boots"]])


class _Space(BaseModel):
    dimensions: int = Field(examples=[512])
    model: str = Field(examples=["vit-b-32-laion2b"])
    space: str = Field(examples=["vit-b-32-laion2b@3f2a9c41"], description="Vectors of two spaces do not compare.")
    normalized: bool = Field(default=True, description="Vectors are of length 1.")
    took_ms: float = Field(examples=[81.4])


class FeaturesOut(_Space):
    """The vector of one picture."""

    features: list[float] = Field(examples=[[0.0132, -0.0417, 0.0291]])


class ErrorOut(BaseModel):
    """Why a picture has no vector."""

    code: str = Field(examples=["image_undecodable"])
    detail: str = Field(examples=["The picture is damaged and cannot be decoded."])


class ResultOut(BaseModel):
    """A vector, or why there is none."""

    features: list[float] | None = Field(default=None, examples=[[0.0132, -0.0417, 0.0291]])
    error: ErrorOut | None = None


class ResultsOut(_Space):
    """A result for each picture or text, in order."""

    results: list[ResultOut]


class DownloadOut(BaseModel):
    """How far the download of the model is."""

    done_bytes: int
    total_bytes: int


class QueueOut(BaseModel):
    """What is accepted and not yet answered."""

    images: int
    bytes: int


class HealthOut(BaseModel):
    """What the service is doing."""

    status: str = Field(examples=["ok"], description="starting, downloading, ok, wedged, failed or draining")
    ready: bool
    since: datetime
    model: str
    precision: str
    space: str | None = Field(examples=["vit-b-32-laion2b@3f2a9c41"])
    digest: str | None = Field(description="The whole digest of the space, in hex.")
    dimensions: int | None = Field(examples=[512])
    has_text: bool | None
    download: DownloadOut | None
    detail: str | None
    queue: QueueOut


BINARY: dict[str, Any] = {
    "application/octet-stream": {
        "schema": {"type": "string", "format": "binary", "description": "float32, little-endian"}
    }
}
