"""What a process is told from outside: the environment, a `.env` file, secrets in files. One frozen class a process."""

import ipaddress
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
from seesame.rates import Rate
from seesame.types import Scope

_PREFIX = "SEESAME_"
_MIN_KEY_CHARS = 32
_ORIGIN = re.compile(r"https?://([a-z0-9_.-]+|\[[0-9a-f:]+\])(:\d{1,5})?")  # as browsers send it: no path, no slash
_HOST = re.compile(r"[a-z0-9_.-]+|\[[0-9a-f:.]+\]|\*")
_OPEN: dict[str, frozenset[Scope]] = {
    "nothing": frozenset(),
    "search": frozenset({"search"}),
    "everything": frozenset({"search", "admin"}),
}


def _absolute(path: Path) -> Path:
    return path.expanduser().resolve()


def _guarding(key: SecretStr) -> SecretStr:
    text = key.get_secret_value()
    if len(text) < _MIN_KEY_CHARS or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be 32 characters or more, ASCII without spaces, such as `openssl rand -hex 32` prints")
    return key


Folder = Annotated[Path, AfterValidator(_absolute)]
Key = Annotated[SecretStr, AfterValidator(_guarding)]


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

    secrets_dir: Folder | None = None
    cache_dir: Folder = Field(default_factory=lambda: platformdirs.user_cache_path("seesame"), validate_default=True)
    model: str = "vit-b-32-laion2b"
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65_535)
    without_key: Literal["auto", "nothing", "search", "everything"] = "auto"
    clip_key: Key | None = None
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

        What neither the environment nor `.env` says may be in a file of the folder that SEESAME_SECRETS_DIR names.

        Raises:
            SettingsError: a variable holds something else than it should; the message names it.
        """
        secrets = os.environ.get(f"{_PREFIX}SECRETS_DIR") or None
        if secrets is not None and not Path(secrets).is_dir():
            raise SettingsError(f"{_PREFIX}SECRETS_DIR: there is no folder {secrets}")
        try:
            settings = cls(_secrets_dir=secrets)  # type: ignore[call-arg]
        except ValidationError as error:
            raise SettingsError(_explain(cls.variables(), error)) from error
        if settings.secrets_dir is not None and secrets is None:
            raise SettingsError(f"{_PREFIX}SECRETS_DIR: set it in the environment; `.env` is read beside its files")
        return settings

    @property
    def is_local(self) -> bool:
        """Whether only this machine can ask, as far as the settings tell."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def own_names(self) -> frozenset[str] | None:
        """The names by which this machine asks the process, IPv6 addresses in brackets; None where others may, too."""
        if not self.is_local:
            return None
        return frozenset({"localhost", "127.0.0.1", "[::1]", f"[{self.host}]" if ":" in self.host else self.host})

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
    admin_key: Key | None = None
    rate_per_address: str = "120/minute"
    rate_per_key: str = "6000/minute"
    trusted_proxies: str = ""
    allowed_hosts: str = ""

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

    @field_validator("rate_per_address", "rate_per_key")
    @classmethod
    def _rate(cls, text: str) -> str:
        if text:
            Rate.parse(text)  # raises ValueError
        return text

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, text: str) -> str:
        try:
            for one in _parted(text):
                ipaddress.ip_network(one)
        except ValueError as error:
            raise ValueError("must be addresses or networks, such as 127.0.0.1,10.0.0.0/8") from error
        return text

    @field_validator("allowed_hosts")
    @classmethod
    def _names(cls, text: str) -> str:
        if not all(_HOST.fullmatch(name) for name in _parted(text)):
            raise ValueError("must be names of hosts without ports, such as search.shop.example,[::1], or * for all")
        return text

    @property
    def is_local(self) -> bool:
        """Whether only this machine can ask: who names a proxy says that it lets others in."""
        return super().is_local and not self.trusted_proxies

    @property
    def open_scopes(self) -> frozenset[Scope]:
        """What may be asked without a key."""
        wanted = self.without_key
        if wanted == "auto":
            wanted = "everything" if self.is_local else "nothing"
        return _OPEN[wanted]

    @property
    def expects_proxies(self) -> bool:
        """Whether a proxy may be in front: not where everybody is taken for this machine, unsaid."""
        return not self.is_local or self.without_key != "auto"

    @property
    def rates(self) -> tuple[Rate | None, Rate | None]:
        """How often an address may ask, and how often a key; None: as often as it likes."""
        if self.is_local and "admin" in self.open_scopes:
            return None, None
        per_address, per_key = (
            Rate.parse(text) if text else None for text in (self.rate_per_address, self.rate_per_key)
        )
        return per_address, per_key

    @property
    def proxies(self) -> list[str]:
        """Addresses and networks of proxies whose word on the client is taken."""
        return sorted(_parted(self.trusted_proxies))

    @property
    def hosts(self) -> frozenset[str] | None:
        """The names that the API answers to; None: to all."""
        if self.allowed_hosts:
            names = _parted(self.allowed_hosts)
            return None if "*" in names else names
        return self.own_names

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


_SECRETS = frozenset({"DATABASE_URL", "REDIS_URL", "SEESAME_ADMIN_KEY", "SEESAME_CLIP_KEY"})  # the URLs hold passwords


def _explain(variables: dict[str, str], error: ValidationError) -> str:
    lines = []
    for fault in error.errors():
        name = str(fault["loc"][0]) if fault["loc"] else ""
        variable = variables.get(name, name)
        given = os.environ.get(variable, fault["input"])
        value = "" if given is None or variable in _SECRETS else f" (it holds {given!r})"
        lines.append(f"{variable}: {fault['msg']}{value}")
    return "; ".join(lines)
