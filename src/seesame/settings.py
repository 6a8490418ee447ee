"""What a process is told from outside: the environment and a `.env` file."""

import os
from pathlib import Path
from typing import Annotated, Literal, Self

import platformdirs
from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from seesame.errors import SettingsError
from seesame.fetch import FetchPolicy

_PREFIX = "SEESAME_"


def _absolute(path: Path) -> Path:
    return path.expanduser().resolve()


Folder = Annotated[Path, AfterValidator(_absolute)]


class Settings(BaseSettings):
    """Settings of `seesame up` and of the command line. `.env.example` explains each of them."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_prefix=_PREFIX,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        env_ignore_empty=True,
    )

    database_url: SecretStr | None = Field(default=None, validation_alias="DATABASE_URL")
    data_dir: Folder = Field(default_factory=lambda: platformdirs.user_data_path("seesame"), validate_default=True)
    cache_dir: Folder = Field(default_factory=lambda: platformdirs.user_cache_path("seesame"), validate_default=True)
    model: str = "vit-b-32-laion2b"
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65_535)
    max_upload_bytes: int = Field(default=10 * 1024 * 1024, ge=1024)
    max_pixels: int = Field(default=50_000_000, ge=1)
    allowed_image_hosts: str = ""
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", validation_alias="LOG_LEVEL")
    log_format: Literal["text", "json"] = Field(default="text", validation_alias="LOG_FORMAT")

    @classmethod
    def variables(cls) -> dict[str, str]:
        """The environment variable of each field."""
        return {
            name: str(field.validation_alias) if field.validation_alias else f"{_PREFIX}{name.upper()}"
            for name, field in cls.model_fields.items()
        }

    @classmethod
    def read(cls) -> Self:
        """The settings of this process.

        Raises:
            SettingsError: a variable holds something else than it should; the message names it.
        """
        try:
            return cls()
        except ValidationError as error:
            raise SettingsError(_explain(cls.variables(), error)) from error

    @field_validator("allowed_image_hosts")
    @classmethod
    def _hosts(cls, text: str) -> str:
        FetchPolicy(allowed_hosts=_parted(text)).trusted_origins()  # raises ValueError for what is no host
        return text

    @property
    def image_hosts(self) -> frozenset[str]:
        """Hosts that pictures may be fetched from although their addresses are private."""
        return _parted(self.allowed_image_hosts)


def _parted(hosts: str) -> frozenset[str]:
    return frozenset(host.strip().lower() for host in hosts.split(",") if host.strip())


def _explain(variables: dict[str, str], error: ValidationError) -> str:
    lines = []
    for fault in error.errors():
        name = str(fault["loc"][0]) if fault["loc"] else ""
        variable = variables.get(name, name)
        value = "" if variable == "DATABASE_URL" else f" (it holds {os.environ.get(variable, fault['input'])!r})"
        lines.append(f"{variable}: {fault['msg']}{value}")
    return "; ".join(lines)
