"""What a process is told from outside: the environment and a `.env` file. One frozen class a process."""

import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

import platformdirs
from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from seesame.errors import SettingsError
from seesame.fetch import FetchPolicy
from seesame.images import ImageLimits

_PREFIX = "SEESAME_"
_ORIGIN = re.compile(r"https?://([a-z0-9_.-]+|\[[0-9a-f:]+\])(:\d{1,5})?")  # as browsers send it: no path, no slash


def _absolute(path: Path) -> Path:
    return path.expanduser().resolve()


Folder = Annotated[Path, AfterValidator(_absolute)]


class _Process(BaseSettings):
    """What every process is told."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_prefix=_PREFIX,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        env_ignore_empty=True,
    )

    cache_dir: Folder = Field(default_factory=lambda: platformdirs.user_cache_path("seesame"), validate_default=True)
    model: str = "vit-b-32-laion2b"
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65_535)
    max_upload_bytes: int = Field(default=10 * 1024 * 1024, ge=1024)
    max_pixels: int = Field(default=50_000_000, ge=1)
    decode_s: float = Field(default=5.0, gt=0, le=60)
    decode_processes: int | None = Field(default=None, ge=0, le=256)
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

    @property
    def image_limits(self) -> ImageLimits:
        """What a picture may measure."""
        return ImageLimits(max_bytes=self.max_upload_bytes, max_pixels=self.max_pixels)


class ClipSettings(_Process):
    """Settings of `seesame clip`."""

    port: int = Field(default=8001, ge=0, le=65_535)
    threads: int = Field(default=0, ge=0, le=256)
    queue_s: float = Field(default=2.0, gt=0, le=60)
    queue_images: int = Field(default=128, ge=32)
    queue_bytes: int = Field(default=256 * 1024 * 1024, ge=1024 * 1024)


class Settings(_Process):
    """Settings of `seesame up` and of the command line. `.env.example` explains each of them."""

    database_url: SecretStr | None = Field(default=None, validation_alias="DATABASE_URL")
    data_dir: Folder = Field(default_factory=lambda: platformdirs.user_data_path("seesame"), validate_default=True)
    clip_url: str | None = Field(default=None, validation_alias="PYTHON_IMAGE_SERVICE_URL")
    clip_timeout_s: float = Field(default=3.0, gt=0, le=60)
    redis_url: SecretStr | None = Field(default=None, validation_alias="REDIS_URL")
    keep_originals: bool = False
    allowed_image_hosts: str = ""
    cors_origins: str = ""
    max_import_bytes: int = Field(default=100 * 1024 * 1024, ge=1024)
    exact_memory_mb: int = Field(default=1024, ge=0)
    sample_queries: bool = True
    calibrate: bool = False
    duplicates_every_s: int = Field(default=3600, ge=0)
    placeholder_products: int = Field(default=10, ge=2, le=1_000_000)
    query_photos_mb: int = Field(default=64, ge=0)
    admin_pages: bool = True

    @field_validator("clip_url")
    @classmethod
    def _http(cls, url: str | None) -> str | None:
        if url is None:
            return None
        urls = [one.strip().rstrip("/") for one in url.split(",")]
        for one in urls:
            parts = urlsplit(one)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("must be a URL such as http://localhost:8001, or several, parted by commas")
        return ",".join(dict.fromkeys(urls))

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and urlsplit(url.get_secret_value()).scheme not in ("redis", "rediss", "unix"):
            raise ValueError("must be a URL such as redis://localhost:6379/0")
        return url

    @field_validator("allowed_image_hosts")
    @classmethod
    def _hosts(cls, text: str) -> str:
        FetchPolicy(allowed_hosts=_parted(text)).trusted_origins()  # raises ValueError for what is no host
        return text

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, text: str) -> str:
        if text != "*" and not all(_ORIGIN.fullmatch(origin) for origin in _parted(text)):
            raise ValueError("must be origins such as https://www.shop.example, parted by commas, or * for all")
        return text

    @property
    def clip_urls(self) -> tuple[str, ...]:
        """The CLIP services; the first has the model that the shop is configured for."""
        return tuple(self.clip_url.split(",")) if self.clip_url else ()

    @property
    def image_hosts(self) -> frozenset[str]:
        """Hosts that pictures may be fetched from although their addresses are private."""
        return _parted(self.allowed_image_hosts)

    @property
    def shared_origins(self) -> frozenset[str]:
        """Origins whose pages may search, or `*` alone."""
        return _parted(self.cors_origins)


class ApiSettings(Settings):
    """Settings of `seesame api`: the parts that `seesame up` starts itself are elsewhere."""

    clip_url: str | None = Field(default="http://localhost:8001", validation_alias="PYTHON_IMAGE_SERVICE_URL")

    @field_validator("database_url")
    @classmethod
    def _needed(cls, url: SecretStr | None) -> SecretStr:
        if url is None:
            raise ValueError("must name the shop's PostgreSQL; `seesame up` brings one of its own")
        return url

    model_config = SettingsConfigDict(validate_default=True)


class WorkerSettings(ApiSettings):
    """Settings of `seesame worker`."""

    port: int = Field(default=8002, ge=0, le=65_535)


def _parted(names: str) -> frozenset[str]:
    return frozenset(name.strip().lower() for name in names.split(",") if name.strip())


def _explain(variables: dict[str, str], error: ValidationError) -> str:
    lines = []
    for fault in error.errors():
        name = str(fault["loc"][0]) if fault["loc"] else ""
        variable = variables.get(name, name)
        given = os.environ.get(variable, fault["input"])
        # A database's or a cache's URL may hold a password.
        value = "" if given is None or variable in ("DATABASE_URL", "REDIS_URL") else f" (it holds {given!r})"
        lines.append(f"{variable}: {fault['msg']}{value}")
    return "; ".join(lines)
