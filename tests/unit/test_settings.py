"""Settings: documented, checked, named in errors."""

import re
from pathlib import Path

import pytest

from seesame.errors import SettingsError
from seesame.settings import Settings

_EXAMPLE = Path(__file__).parents[2] / ".env.example"


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in Settings.variables().values():
        monkeypatch.delenv(variable, raising=False)


def _documented() -> dict[str, str]:
    return dict(re.findall(r"^#([A-Z_]+)=(.*)$", _EXAMPLE.read_text(), re.MULTILINE))


def test_every_setting_is_documented_with_its_default() -> None:
    """`.env.example` names each variable, no other, and its default where that is the same on every machine."""
    settings = Settings.read()
    documented = _documented()
    assert set(documented) == set(Settings.variables().values())
    for name, variable in Settings.variables().items():
        if name not in ("data_dir", "cache_dir", "database_url"):
            assert documented[variable] == str(getattr(settings, name))


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
    ],
)
def test_a_wrong_value_names_its_variable(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    """The error says which variable is wrong and what it holds."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=variable) as error:
        Settings.read()
    assert value in str(error.value)


def test_a_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection string does not get into a log by way of the settings."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:secret@h/d")
    assert "secret" not in repr(Settings.read())
