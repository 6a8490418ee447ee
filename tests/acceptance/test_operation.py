"""A process as those see it who operate it: its log, its health, and settings that change while it runs."""

import base64
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from seesame.db.embedded import EmbeddedPostgres
from tests.conftest import copied_database, picture
from tests.faults.processes import Process, eventually, free_port, running
from tests.picture_host import PictureHost, picture_host

_SECRETS = ("s3cret-signature", "s3cret-key", "s3cret-name")
_SHOP = "https://www.shop.example"


class Api:
    """A running API, its log and its `.env`."""

    def __init__(self, process: Process, client: httpx2.Client, env: Path) -> None:
        self.process, self.client, self.env = process, client, env

    def lines(self) -> list[dict[str, Any]]:
        """The log so far; all of it is JSON."""
        return [json.loads(line) for line in self.process.log.read_text().splitlines()]

    def events(self, words: str) -> list[dict[str, Any]]:
        """Lines with these words."""
        return [line for line in self.lines() if words in line["event"]]

    def reload(self, *settings: str, until: str) -> None:
        """Writes the `.env`, sends SIGHUP and waits for a line of the log that was not there before."""
        before = len(self.events(until))
        self.env.write_text("\n".join(settings))
        self.process.signal(signal.SIGHUP)
        eventually(lambda: len(self.events(until)) > before)


@pytest.fixture(scope="module")
def host() -> Iterator[PictureHost]:
    with picture_host() as host:
        host.pictures["/shoe.jpg?signature=s3cret-signature"] = picture("orange")
        yield host


@pytest.fixture(scope="module")
def api(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, cache_dir: Path, host: PictureHost
) -> Iterator[Api]:
    """`seesame api` alone, which tells all that it ever tells; its settings come from the environment and a `.env`."""
    folder = tmp_path_factory.mktemp("operated")
    env = folder / ".env"
    env.write_text("LOG_LEVEL=debug")
    with copied_database(postgres) as dsn:
        environment = {
            "DATABASE_URL": dsn,
            "SEESAME_DATA_DIR": str(folder / "data"),
            "SEESAME_CACHE_DIR": str(cache_dir),
            "SEESAME_ALLOWED_IMAGE_HOSTS": host.name,
            "PYTHON_IMAGE_SERVICE_URL": f"http://127.0.0.1:{free_port()}",
            "LOG_FORMAT": "json",
        }
        with (
            running(folder, "api", environment) as process,
            httpx2.Client(base_url=process.url, timeout=30, trust_env=False) as client,
        ):
            yield Api(process, client, env)


def test_no_secret_and_no_picture_gets_into_the_log(api: Api, host: PictureHost) -> None:
    """Neither the query of a picture's URL nor keys, paths or bytes; and every line tells its request."""
    headers = {"X-Request-ID": "operated-1", "Authorization": "Bearer s3cret-key", "Cookie": "key=s3cret-key"}
    at = {"image": {"url": host.url("/shoe.jpg?signature=s3cret-signature")}}
    gone = {"image": {"url": host.url("/gone.jpg?signature=s3cret-signature")}}
    sent = picture("green")
    encoded = base64.b64encode(sent).decode()
    for query, status in ((at, 200), (gone, 422), ({"image": {"base64": encoded}}, 200)):
        reply = api.client.post("/v1/search?key=s3cret-key", json={"queries": [query]}, headers=headers)
        assert reply.status_code == status, reply.text
    assert api.client.get("/v1/products/s3cret-name?q=s3cret-key", headers=headers).status_code == 404
    asked = eventually(lambda: api.events("GET /v1/products/") or None)
    assert asked[0]["request_id"] == "operated-1"
    assert asked[0]["status"] == 404
    assert asked[0]["took_ms"] > 0
    searches = eventually(lambda: found if len(found := api.events("POST /v1/search ")) == 3 else None)
    assert [line["status"] for line in searches] == [200, 422, 200]
    assert {line["request_id"] for line in api.events("similarity search")} == {"operated-1"}
    log = api.process.log.read_text()
    assert [secret for secret in (*_SECRETS, encoded[:60]) if secret in log] == []


def test_each_part_says_since_when(api: Api) -> None:
    """What does not change keeps its time."""
    eventually(lambda: api.client.get("/health").json()["clip"]["status"] == "unavailable")
    first, second = (api.client.get("/health").json() for _ in range(2))
    assert first["parts"].keys() == {"database", "clip", "fallback", "index", "redis", "backfill", "decoders", "disk"}
    assert {name: part["since"] for name, part in first["parts"].items()} == {
        name: part["since"] for name, part in second["parts"].items()
    }
    states = {name: part["status"] for name, part in first["parts"].items()}
    assert states.pop("disk") in ("ok", "degraded")
    assert states == {
        "database": "ok",
        "clip": "down",
        "fallback": "degraded",
        "index": "ok",
        "redis": "unused",
        "backfill": "ok",
        "decoders": "ok",
    }


def _shares(api: Api) -> bool:
    reply = api.client.get("/v1/images/0", headers={"Origin": _SHOP})
    return reply.headers.get("access-control-allow-origin") == _SHOP


def test_settings_are_taken_up_at_a_hangup(api: Api) -> None:
    """Those that can be; others are named, and a file that is wrong changes nothing."""
    assert not _shares(api)
    api.reload("LOG_LEVEL=info", f"SEESAME_CORS_ORIGINS={_SHOP}", "SEESAME_ADMIN_PAGES=false", until="a restart")
    taken, waiting = api.events("taken up:")[-1], api.events("only by a restart")[-1]
    assert taken["event"].endswith("LOG_LEVEL, SEESAME_CORS_ORIGINS")
    assert _shares(api)
    assert waiting["event"].endswith(": SEESAME_ADMIN_PAGES")
    api.reload("LOG_LEVEL=loud", "SEESAME_CORS_ORIGINS=nonsense", until="stay as they were")
    told = api.events("stay as they were")[-1]
    assert "LOG_LEVEL" in told["event"]
    assert "SEESAME_CORS_ORIGINS" in told["event"]
    assert _shares(api)
    api.reload("LOG_LEVEL=info", until="taken up")
    assert not _shares(api)
