"""Keys: who may ask a server that others can reach, for what, and how often."""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.routing import BaseRoute, Mount
from typer.testing import CliRunner

from seesame.api.app import create_app
from seesame.application import Application, open_application
from seesame.cli import app as program
from seesame.cli.serve import serving
from seesame.db.embedded import EmbeddedPostgres
from seesame.db.pool import Database
from seesame.errors import DatabaseUnavailable, InvalidInput, NotFound, SettingsError
from seesame.keys import Keys
from seesame.metrics import ShopMetrics
from seesame.settings import Settings
from tests.conftest import copied_database, served, shop_settings
from tests.redis_server import eventually

_ADMIN = "an-admin-key-of-the-settings-which-is-long"
_UNKNOWN = f"ssm_{'0' * 12}_{'f' * 64}"
_ID = "00000000-0000-0000-0000-000000000000"

# All that needs no admin key. Whoever adds a route that belongs in here adds it to `seesame.api.scopes`, too.
_EVERYBODY = {
    "GET /health/live",
    "GET /health/ready",
    "GET /openapi.json",
    "GET /sign-in",
    "POST /sign-in",
    "POST /sign-out",
    "GET /static",
    "GET /v1/images/{image_id}",
    "GET /widget.js",
}
_SEARCH = {
    "GET /",
    "POST /",
    "DELETE /v1/search/images/{image_id}",
    "GET /v1/products",
    "GET /v1/products/{product_id:product_id}",
    "GET /v1/products/{product_id:path}/similar",
    "POST /v1/search",
    "POST /v1/search/image",
    "POST /v1/search/regions",
}


_STATUS = {"key_needed": 401, "key_invalid": 401, "scope_missing": 403}


class House:
    """A server that listens to everybody, with keys of each kind."""

    def __init__(self, application: Application, client: httpx2.Client, api: FastAPI) -> None:
        self.application = application
        self.client = client
        self.routes = sorted(_named(api.routes))
        self.search = self.made("search")
        self.admin = self.made("admin")

    def made(self, scope: str, lifetime: timedelta | None = None) -> str:
        assert scope in ("search", "admin")
        text = self.application.keys.create("test", scope, lifetime=lifetime)[1]  # type: ignore[arg-type]
        self.application.keys.look()
        return text

    def refusal(self, route: str, headers: Mapping[str, str]) -> str | None:
        """Why a request was not let in; None: it was."""
        method, _, template = route.partition(" ")
        path = re.sub(r"\{[a-z_]*(id|key)(:[a-z_]+)?\}", _ID, template)
        assert "{" not in path
        reply = self.client.request(method, path, headers=headers)
        assert reply.status_code < 500 or reply.json()["code"] != "internal_error", route
        if reply.headers.get("location", "").startswith("/sign-in?next="):
            return "sign_in"
        code = reply.json()["code"] if reply.headers.get("content-type") == "application/problem+json" else None
        assert _STATUS.get(code or "", reply.status_code) == reply.status_code
        return code if code in _STATUS else None


def _named(routes: list[BaseRoute]) -> Iterator[str]:
    for route in routes:
        if (router := getattr(route, "original_router", None)) is not None:
            yield from _named(router.routes)
        elif isinstance(route, Mount):
            yield f"GET {route.path}"
        else:
            yield from (f"{method} {route.path}" for method in route.methods - {"HEAD"})  # type: ignore[attr-defined]


@contextmanager
def _open_house(settings: Settings, **changes: object) -> Iterator[House]:
    apps: list[FastAPI] = []

    def kept(application: Application) -> FastAPI:
        apps.append(create_app(application))
        return apps[-1]

    changes = {"host": "0.0.0.0", "admin_key": SecretStr(_ADMIN), "rate_per_address": "", "rate_per_key": ""} | changes
    with (
        pytest.MonkeyPatch.context() as patch,
        open_application(settings.model_copy(update=changes)) as application,
    ):
        patch.setattr("seesame.cli.serve.create_app", kept)
        with served(application) as client:
            yield House(application, client, apps[0])


@pytest.fixture(scope="module")
def house(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[House]:
    """One server for all tests of this module that leave nothing behind but keys."""
    with (
        copied_database(postgres) as dsn,
        _open_house(shop_settings(dsn, tmp_path_factory.mktemp("shop"), cache_dir)) as house,
    ):
        yield house


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_each_route_asks_for_its_scope(house: House) -> None:
    """Every route with every kind of key: what is not opened on purpose is closed."""
    revoked, over = house.made("admin"), house.made("admin", timedelta(microseconds=1))
    house.application.keys.revoke(revoked.split("_")[1])
    house.application.keys.look()
    wrong = [_bearer(key) for key in (revoked, over, _UNKNOWN, "x", "{}", f"{house.admin}0")]
    assert {*house.routes} >= _EVERYBODY | _SEARCH
    for route in house.routes:
        is_page = re.fullmatch(r"(GET|POST) (/|/admin(/.*)?)", route)
        closed = {code: "sign_in" if is_page else code for code in _STATUS} if route not in _EVERYBODY else {}
        for headers in ({}, {"Authorization": "Basic eDp5"}):
            assert house.refusal(route, headers) == closed.get("key_needed"), route
        for headers in (*wrong, {"Authorization": "Bearer"}, {"X-API-Key": _UNKNOWN}):
            assert house.refusal(route, headers) == closed.get("key_invalid"), (route, headers)
        expected = None if route in _SEARCH else closed.get("scope_missing")
        assert house.refusal(route, _bearer(house.search)) == expected, route
        for key in (house.admin, _ADMIN):
            assert house.refusal(route, {"X-API-Key": key}) is None, route
    assert house.client.get("/v1/stats", headers=_bearer("x" * 100_000)).status_code == 431


def test_what_is_no_route_is_closed(house: House) -> None:
    """Nobody learns what is there; who has a key is told that it is not."""
    for path in ("/nothing", "/v1/search/nothing", "/v1/products/", "/metrics/", "/v1/spaces/a/activate"):
        assert house.client.get(path).status_code == 401
    assert house.client.get("/nothing", headers=_bearer(house.admin)).status_code == 404
    assert house.client.options("/v1/products").status_code == 401


def test_refusals_say_what_is_missing(house: House) -> None:
    """In a problem, and in the header that HTTP has for it."""
    cases = [
        ({}, 401, "key_needed", 'Bearer realm="seesame"'),
        ({"X-API-Key": _UNKNOWN}, 401, "key_invalid", 'Bearer realm="seesame", error="invalid_token"'),
        ({"X-API-Key": house.search}, 403, "scope_missing", 'error="insufficient_scope", scope="admin"'),
    ]
    for headers, status, code, challenge in cases:
        reply = house.client.get("/v1/stats", headers=headers)
        assert (reply.status_code, reply.json()["code"]) == (status, code)
        assert reply.headers["www-authenticate"].endswith(challenge)
        assert reply.headers["x-request-id"] == reply.json()["request_id"]
        assert "ssm_" not in reply.text
    metrics = house.client.get("/metrics", headers={"x-api-key": house.admin}).text
    assert 'seesame_refusals_total{code="scope_missing"}' in metrics


def test_a_large_upload_is_refused_unread(house: House) -> None:
    """The answer reaches who still sends, and the connection serves the next request."""
    reply = house.client.post("/v1/search/image", files={"image": bytes(9_000_000)})
    assert reply.status_code == 401
    assert house.client.get("/health/live").status_code == 200


def test_a_new_key_works_at_once_and_a_revoked_one_ends(house: House) -> None:
    """Without a restart; the list tells that it was used."""
    keys = house.application.keys
    key, text = keys.create("one more", "search")
    eventually(lambda: house.client.get("/v1/products", headers=_bearer(text)).status_code == 200)
    keys.look()
    assert any(one.key_id == key.key_id and one.last_used_at for one in keys.all())
    keys.revoke(key.key_id)
    keys.revoke(key.key_id)
    eventually(lambda: house.client.get("/v1/products", headers=_bearer(text)).status_code == 401)


def test_known_keys_go_on_without_the_database(database: Database) -> None:
    """Those that are known are taken, others refused, and what is over ends on time."""
    now = datetime.now(UTC)
    keys = Keys(database, clock=lambda: now)
    _, text = keys.create("a", "search", lifetime=timedelta(hours=1))
    assert keys.holder(text) is None
    assert keys.is_news(text)
    keys.look()
    database.close()
    with pytest.raises(DatabaseUnavailable):
        keys.look()
    holder = keys.holder(text)
    assert holder is not None
    assert holder.scopes == {"search"}
    assert keys.holder(_UNKNOWN) is None
    now += timedelta(hours=2)
    assert keys.holder(text) is None


def test_the_database_has_no_secret(database: Database) -> None:
    """What it keeps of a key lets nobody in; names are lines of text, and an id that is none is told."""
    keys = Keys(database)
    key, text = keys.create("a", "admin")
    assert re.fullmatch(r"ssm_[0-9a-f]{12}_[0-9a-f]{64}", text)
    secret = text.rpartition("_")[2]
    assert secret not in repr(key)
    assert len(key.digest) == 32
    for name in ("", "x" * 101, "a\nb"):
        with pytest.raises(InvalidInput):
            keys.create(name, "admin")
    with pytest.raises(NotFound):
        keys.revoke("nothing")


def test_keys_are_made_listed_and_revoked_by_commands(
    dsn: str, tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key alone is on the standard output, and no list shows it."""
    monkeypatch.setattr("seesame.cli.keys.configure_logging", lambda *_: None)  # it is set up for this process already
    env = {
        "DATABASE_URL": dsn,
        "SEESAME_DATA_DIR": str(tmp_path),
        "SEESAME_CACHE_DIR": str(cache_dir),
        "COLUMNS": "200",
    }

    def run(*arguments: str, code: int = 0) -> str:
        done = CliRunner(env=env).invoke(program, ["keys", *arguments])
        assert done.exit_code == code, done.output
        return done.stdout

    text = run("create", "shop server", "--scope", "search", "--expires", "90d").strip()
    _, key_id, secret = text.split("_")
    assert secret not in run("list")
    [listed] = json.loads(run("list", "--json"))
    assert (listed["key_id"], listed["name"], listed["scope"], listed["state"]) == (
        key_id,
        "shop server",
        "search",
        "works",
    )
    lifetime = datetime.fromisoformat(listed["expires_at"]) - datetime.fromisoformat(listed["created_at"])
    assert lifetime == timedelta(days=90)
    run("revoke", key_id)
    assert "revoked" in run("list")
    run("create", "x", "--scope", "search", "--expires", "soon", code=2)


# --- where it listens


def test_an_open_house_needs_a_key_or_a_word(application: Application, caplog: pytest.LogCaptureFixture) -> None:
    """Without any key it does not start, and says what would mend that; `everything` is warned of."""
    changes = {"host": "0.0.0.0"}
    for others in ({}, {"without_key": "search"}, {"host": "127.0.0.1", "trusted_proxies": "127.0.0.1"}):
        reachable = _changed(application, changes | others)
        with pytest.raises(SettingsError, match=r"seesame keys create.*SEESAME_ADMIN_KEY.*SEESAME_WITHOUT_KEY"):
            serving(reachable).__enter__()
    assert "SEESAME_WITHOUT_KEY" not in caplog.text
    with served(_changed(application, changes | {"without_key": "everything"})) as client:
        assert client.get("/v1/stats").status_code == 200
    assert "may do everything" in caplog.text


def _changed(application: Application, changes: Mapping[str, object]) -> Application:
    settings = application.settings.model_copy(update=changes)
    return dataclasses.replace(application, settings=settings, metrics=ShopMetrics())


def test_only_this_machine_s_names_lead_to_it(shared_server: httpx2.Client) -> None:
    """A page whose name was made to point here finds nothing; probes and pictures have no names to know."""
    port = shared_server.base_url.port
    for host in (f"localhost:{port}", "LOCALHOST", f"[::1]:{port}", "127.0.0.1"):
        assert shared_server.get("/v1/stats", headers={"Host": host}).status_code == 200
    for host in (
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1.evil.example",
        "0.0.0.0",
        "127.0.0.1:1@evil.example",
        "",
    ):
        reply = shared_server.get("/v1/stats", headers={"Host": host})
        assert (reply.status_code, reply.json()["code"]) == (421, "host_not_allowed"), host
        assert shared_server.get("/health/live", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Real-IP", "Forwarded"])
def test_a_proxy_that_nobody_named_is_warned_of_once(
    application: Application, caplog: pytest.LogCaptureFixture, header: str
) -> None:
    """Where it lets everybody in without a key, and that was not said in so many words."""
    proxied = {header: "203.0.113.7"}
    with served(_changed(application, {})) as client:
        assert client.get("/v1/stats").status_code == 200
        assert "SEESAME_TRUSTED_PROXIES" not in caplog.text
        assert [client.get("/v1/stats", headers=proxied).status_code for _ in range(2)] == [200, 200]
    assert caplog.text.count("SEESAME_TRUSTED_PROXIES") == 1
    with served(_changed(application, {"without_key": "everything"})) as client:
        assert client.get("/v1/stats", headers=proxied).status_code == 200
    assert caplog.text.count("SEESAME_TRUSTED_PROXIES") == 1


def test_searches_may_be_left_open(application: Application) -> None:
    """`search` opens what a shopper does, and nothing else."""
    with served(_changed(application, {"without_key": "search"})) as client:
        assert client.get("/v1/products").status_code == 200
        assert client.get("/").status_code == 200
        assert client.get("/v1/stats").status_code == 401
        assert client.get("/admin").status_code == 303


# --- how often


@pytest.fixture(scope="module")
def crowded(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[House]:
    """A server behind a trusted proxy (this machine) that lets each ask a few times."""
    with (
        copied_database(postgres) as dsn,
        _open_house(
            shop_settings(dsn, tmp_path_factory.mktemp("crowd"), cache_dir),
            trusted_proxies="127.0.0.0/8",
            rate_per_address="20/hour",
            rate_per_key="30/hour",
            without_key="search",
            cors_origins="https://shop.example",
            allowed_hosts="search.example",
        ) as house,
    ):
        house.client.headers["Host"] = "search.example"
        yield house


def _times(client: httpx2.Client, headers: dict[str, str]) -> tuple[int, httpx2.Response]:
    """How often somebody gets an answer, and what comes then."""
    for count in range(100):
        reply = client.get("/v1/products", headers=headers)
        if reply.status_code == 429:
            return count, reply
    raise AssertionError("there is no limit")


def test_what_a_stranger_says_of_its_address_is_not_believed(
    postgres: EmbeddedPostgres, tmp_path: Path, cache_dir: Path
) -> None:
    """Only the proxy that is named is; who comes another way counts as who it is, whatever it says."""
    with (
        copied_database(postgres) as dsn,
        _open_house(
            shop_settings(dsn, tmp_path, cache_dir), trusted_proxies="10.0.0.1", rate_per_address="5/hour",
            without_key="search",
        ) as house,
    ):  # fmt: skip
        asked = [house.client.get("/v1/products", headers={"X-Forwarded-For": f"1.2.3.{n}"}) for n in range(6)]
        assert [reply.status_code for reply in asked] == [200] * 5 + [429]


def test_an_address_is_counted_as_the_proxy_tells_it(crowded: House) -> None:
    """The last that is no proxy, whatever the client wrote before it; of IPv6 its network."""
    count, reply = _times(crowded.client, {"X-Forwarded-For": "1.2.3.4"})
    assert count == 20
    assert reply.json()["code"] == "rate_limited"
    assert 0 < int(reply.headers["retry-after"]) <= 7200
    assert reply.headers["ratelimit-policy"] == '"default";q=20;w=3600'
    for forged in ("9.9.9.9, 1.2.3.4", "9.9.9.9, 1.2.3.4, 127.0.0.1", "1.2.3.4:5"):
        assert crowded.client.get("/v1/products", headers={"X-Forwarded-For": forged}).status_code == 429
    assert _times(crowded.client, {"X-Forwarded-For": "2001:db8:1:2::3"})[0] == 20
    assert _times(crowded.client, {"X-Forwarded-For": "2001:db8:1:2:9::4"})[0] == 0
    assert _times(crowded.client, {"X-Forwarded-For": "nonsense"})[0] == 20
    assert crowded.client.get(f"/v1/images/{_ID}", headers={"X-Forwarded-For": "1.2.3.4"}).status_code == 404


def test_a_key_is_counted_wherever_it_comes_from(crowded: House) -> None:
    """Its own rate holds, and its address's does not."""
    asked = [_times(crowded.client, _bearer(crowded.admin) | {"X-Forwarded-For": f"3.3.3.{n}"})[0] for n in range(2)]
    assert asked == [30, 0]


def test_wrong_keys_are_soon_refused_unlooked_at(crowded: House) -> None:
    """Guessing costs ten times as much, in requests and on the sign-in page."""
    wrong = _bearer(_UNKNOWN) | {"X-Forwarded-For": "4.4.4.4"}
    assert [crowded.client.get("/v1/stats", headers=wrong).status_code for _ in range(3)] == [401, 401, 429]
    away = {"X-Forwarded-For": "5.5.5.5"}
    posted = [crowded.client.post("/sign-in", data={"key": "x"}, headers=away).status_code for _ in range(3)]
    assert posted == [401, 401, 429]


def test_the_name_of_the_shop_s_own_leads_to_it(crowded: House) -> None:
    """The names that are set, and no other."""
    assert crowded.client.get("/v1/stats", headers={"Host": "127.0.0.1"}).status_code == 421


def test_pages_of_the_shop_may_send_a_key(crowded: House) -> None:
    """A browser asks first, and is told that it may; a page can read why it is refused."""
    asks = {
        "Origin": "https://shop.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    assert crowded.client.options("/v1/search", headers=asks).status_code == 200
    shop = {"Origin": "https://shop.example", "X-Forwarded-For": "7.7.7.7"}
    statuses = set()
    for _ in range(21):
        reply = crowded.client.post("/v1/search", json={}, headers=shop)
        statuses.add(reply.status_code)
        assert reply.headers["access-control-allow-origin"] == "https://shop.example"
    assert statuses == {422, 429}


# --- pages


def test_one_signs_in_with_a_key(house: House) -> None:
    """A browser is sent to sign in, and then to where it wanted to go; the cookie is for this server alone."""
    client = house.client
    sent = client.get("/admin/imports?page=2")
    assert (sent.status_code, sent.headers["location"]) == (303, "/sign-in?next=%2Fadmin%2Fimports%3Fpage%3D2")
    form = client.get(sent.headers["location"])
    assert 'value="/admin/imports?page=2"' in form.text
    assert form.headers["cache-control"] == "no-store"
    assert client.post("/sign-in", data={"key": _UNKNOWN}).status_code == 401
    signed_in = client.post("/sign-in", data={"key": f" {house.admin}\n", "next": "/admin/imports?page=2"})
    assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/admin/imports?page=2")
    assert signed_in.headers["set-cookie"] == f"seesame_key={house.admin}; HttpOnly; Path=/; SameSite=strict"
    cookie = {"Cookie": f"a=b; seesame_key={house.admin}"}
    assert client.get("/admin/imports?page=2", headers=cookie).status_code == 200
    assert house.admin.split("_")[1] in client.get("/sign-in?next=/admin", headers=cookie).text
    assert house.admin not in client.get("/sign-in", headers=cookie).text
    assert 'seesame_key=""' in client.post("/sign-out", headers=cookie).headers["set-cookie"]


def test_a_key_for_searching_opens_no_admin_page(house: House) -> None:
    """It is told why it is asked again."""
    cookie = {"Cookie": f"seesame_key={house.search}"}
    assert house.client.get("/", headers=cookie).status_code == 200
    sent = house.client.get("/admin", headers=cookie)
    assert sent.status_code == 303
    assert "Sign in with an admin key" in house.client.get(sent.headers["location"], headers=cookie).text


@pytest.mark.parametrize(
    "address", ["//evil.example", "/\\evil.example", "https://evil.example", "/\n/evil.example", "", "x"]
)
def test_signing_in_leads_nowhere_else(house: House, address: str) -> None:
    """An address that is not this server's own is none."""
    reply = house.client.post("/sign-in", data={"key": house.admin, "next": address})
    assert reply.headers["location"] == "/"


def test_other_sites_sign_nobody_in(house: House) -> None:
    """A browser would go on with a key that is not its user's."""
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert house.client.post("/sign-in", data={"key": house.admin}, headers=foreign).status_code == 403


def test_what_comes_by_https_stays_there(crowded: House) -> None:
    """A proxy that is trusted says so; the cookie and the browser then never use plain HTTP."""
    secure = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "6.6.6.6"}
    reply = crowded.client.post("/sign-in", data={"key": _ADMIN}, headers=secure)
    assert reply.headers["set-cookie"].endswith("; Secure")
    assert reply.headers["strict-transport-security"] == "max-age=31536000"
    assert "strict-transport-security" not in crowded.client.get("/sign-in").headers


def test_nobody_believes_what_others_say_of_the_client(house: House) -> None:
    """Without a trusted proxy the headers mean nothing."""
    reply = house.client.get("/sign-in", headers={"X-Forwarded-Proto": "https"})
    assert "strict-transport-security" not in reply.headers
