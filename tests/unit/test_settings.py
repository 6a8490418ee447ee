"""Settings: documented, checked, named in errors."""

import re
from pathlib import Path

import pytest

from seesame.errors import SettingsError
from seesame.settings import ApiSettings, ClipSettings, Settings, WorkerSettings

_PROCESSES = (Settings, ApiSettings, WorkerSettings, ClipSettings)
_VARIABLES = {variable for process in _PROCESSES for variable in process.variables().values()}
_OF_THE_MACHINE = ("data_dir", "cache_dir", "database_url", "clip_url", "redis_url", "port", "decode_processes")
_EXAMPLE = Path(__file__).parents[2] / ".env.example"


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in _VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def _documented() -> dict[str, str]:
    return dict(re.findall(r"^#([A-Z_]+)=(.*)$", _EXAMPLE.read_text(), re.MULTILINE))


def test_every_setting_is_documented_with_its_default() -> None:
    """`.env.example` names each variable, no other, and its default where that is the same on every machine."""
    documented = _documented()
    assert set(documented) == _VARIABLES
    for process in (Settings, ClipSettings):
        settings = process.read()
        for name, variable in process.variables().items():
            if name not in _OF_THE_MACHINE:
                value = getattr(settings, name)
                written = str(value).lower() if isinstance(value, bool) else str(value)
                assert documented[variable] == ("" if value is None else written)


def test_each_process_has_its_port_and_its_place_for_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs beside others asks the CLIP service; what runs alone computes by itself."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://h/d")
    assert [process.read().port for process in _PROCESSES] == [8000, 8000, 8002, 8001]
    assert Settings.read().clip_url is None
    assert ApiSettings.read().clip_url == WorkerSettings.read().clip_url == "http://localhost:8001"
    monkeypatch.setenv("PYTHON_IMAGE_SERVICE_URL", "http://clip:9000/")
    assert ApiSettings.read().clip_url == "http://clip:9000"
    monkeypatch.setenv("PYTHON_IMAGE_SERVICE_URL", "http://clip:9000, https://new:9001/,http://clip:9000/")
    assert ApiSettings.read().clip_urls == ("http://clip:9000", "https://new:9001")


@pytest.mark.parametrize("process", [ApiSettings, WorkerSettings])
def test_a_process_beside_others_needs_a_database(process: type[ApiSettings]) -> None:
    """It says which variable, and what would bring a database along."""
    with pytest.raises(SettingsError, match=r"DATABASE_URL.*seesame up"):
        process.read()


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Both are read; an empty variable is as good as none."""
    (tmp_path / ".env").write_text("SEESAME_PORT=1234\nSEESAME_HOST=::1\nDATABASE_URL=\nOTHER=x\n")
    monkeypatch.setenv("SEESAME_PORT", "4321")
    monkeypatch.setenv("SEESAME_MODEL", "")
    settings = Settings.read()
    assert (settings.port, settings.host, settings.database_url) == (4321, "::1", None)
    assert settings.model == "vit-b-32-laion2b"
    assert settings.data_dir.is_absolute()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SEESAME_PORT", "x"),
        ("SEESAME_PORT", "70000"),
        ("SEESAME_PRECISION", "fp8"),
        ("LOG_FORMAT", "xml"),
        ("SEESAME_ALLOWED_IMAGE_HOSTS", "http://shop/"),
        ("SEESAME_CORS_ORIGINS", "www.shop.example"),
        ("SEESAME_CORS_ORIGINS", "https://shop.example/"),
        ("SEESAME_CORS_ORIGINS", "https://*.shop.example"),
        ("SEESAME_CORS_ORIGINS", "https://shop.example,*"),
        ("SEESAME_CORS_ORIGINS", "null"),
        ("SEESAME_RATE_PER_KEY", "many"),
        ("SEESAME_TRUSTED_PROXIES", "127.0.0.1,proxy"),
        ("SEESAME_TRUSTED_PROXIES", "10.0.0.1/8"),
        ("SEESAME_ALLOWED_HOSTS", "https://shop.example"),
        ("SEESAME_ALLOWED_HOSTS", "shop.example:443"),
        ("SEESAME_WITHOUT_KEY", "all"),
        ("PYTHON_IMAGE_SERVICE_URL", "localhost:8001"),
        ("PYTHON_IMAGE_SERVICE_URL", "http://localhost:8001,"),
    ],
)
def test_a_wrong_value_names_its_variable(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    """The error says which variable is wrong and what it holds."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=variable) as error:
        Settings.read()
    assert value in str(error.value)


def test_origins_are_a_list_or_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Case and spaces do not count, as browsers send origins in lower case."""
    monkeypatch.setenv("SEESAME_CORS_ORIGINS", "https://WWW.shop.example, http://localhost:8080,http://[::1]:80")
    assert Settings.read().shared_origins == {
        "https://www.shop.example",
        "http://localhost:8080",
        "http://[::1]:80",
    }
    monkeypatch.setenv("SEESAME_CORS_ORIGINS", "*")
    assert Settings.read().shared_origins == {"*"}


def test_the_password_of_a_wrong_url_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it get into an error."""
    monkeypatch.setenv("REDIS_URL", "http://:secret@h")
    with pytest.raises(SettingsError, match="REDIS_URL") as error:
        Settings.read()
    assert "secret" not in str(error.value)


def test_a_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection string does not get into a log by way of the settings."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hidden@h/d")
    assert "hidden" not in repr(Settings.read())


@pytest.mark.parametrize(
    "key", ["too-short", "with spaces in it, and long enough", "long-enough-but-not-of-ascii-é-at-all"]
)
@pytest.mark.parametrize("variable", ["SEESAME_ADMIN_KEY", "SEESAME_CLIP_KEY"])
def test_a_key_is_long_and_fits_into_a_header(monkeypatch: pytest.MonkeyPatch, variable: str, key: str) -> None:
    """The error says how to make one, and does not show what was set."""
    monkeypatch.setenv(variable, key)
    with pytest.raises(SettingsError, match=f"{variable}.*openssl rand") as error:
        Settings.read()
    assert key not in str(error.value)


def test_secrets_may_be_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Named as their variables in lower case, with or without a prefix; the environment wins over them."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "database_url").write_text("postgresql://h/of_the_file\n")
    (folder / "seesame_admin_key").write_text("a" * 32 + "\n")
    (folder / "seesame_rate_per_key").write_text("1/hour")
    monkeypatch.setenv("SEESAME_SECRETS_DIR", str(folder))
    monkeypatch.setenv("SEESAME_RATE_PER_KEY", "2/hour")
    settings = Settings.read()
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == "postgresql://h/of_the_file"
    assert settings.admin_key is not None
    assert settings.admin_key.get_secret_value() == "a" * 32
    assert settings.rate_per_key == "2/hour"
    monkeypatch.setenv("SEESAME_SECRETS_DIR", str(folder / "nothing"))
    with pytest.raises(SettingsError, match="SEESAME_SECRETS_DIR"):
        Settings.read()


@pytest.mark.parametrize(
    ("host", "proxies", "is_local"),
    [
        ("127.0.0.1", "", True),
        ("127.8.9.1", "", True),
        ("::1", "", True),
        ("localhost", "", True),
        ("127.0.0.1", "127.0.0.1", False),
        ("0.0.0.0", "", False),
        ("::", "", False),
        ("10.0.0.1", "", False),
        ("shop.example", "", False),
        ("", "", False),
    ],
)
def test_no_key_is_needed_where_this_machine_alone_can_ask(host: str, proxies: str, is_local: bool) -> None:
    """A proxy lets others in. Where they can ask, `auto` opens nothing, and rates hold."""
    settings = Settings(host=host, trusted_proxies=proxies, _env_file=None)  # type: ignore[call-arg]
    assert settings.is_local == is_local
    assert settings.open_scopes == (frozenset({"search", "admin"}) if is_local else frozenset())
    assert (settings.rates == (None, None)) == is_local
    assert (settings.hosts is None) != is_local
    open_to_all = settings.model_copy(update={"without_key": "everything", "rate_per_address": ""})
    assert open_to_all.open_scopes == {"search", "admin"}
    assert open_to_all.rates[0] is None
    assert settings.model_copy(update={"allowed_hosts": "*"}).hosts is None
