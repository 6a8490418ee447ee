"""The files of the containers hold together; `make check` holds them against hadolint and the schema of Compose."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

_ROOT = Path(__file__).parents[2]
_PRODUCTION = _ROOT / "docker-compose.prod.yml"
_DEVELOPMENT = _ROOT / "docker-compose.yml"
_OVERLAYS = sorted((_ROOT / "deploy").glob("compose.*.yml"))
_GUIDE = (_ROOT / "DOCKER_DEPLOYMENT_GUIDE.md").read_text()
_DOCKERFILE = (_ROOT / "Dockerfile").read_text()
_SETTINGS = set(re.findall(r"^#([A-Z_]+)=", (_ROOT / ".env.example").read_text(), re.MULTILINE))


def _compose(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


_SERVICES = _compose(_PRODUCTION)["services"]
_MONITORING = _compose(_ROOT / "deploy" / "compose.monitoring.yml")
_ALL = _SERVICES | _MONITORING["services"]


@pytest.mark.parametrize("name", _ALL)
def test_each_service_is_confined_watched_and_limited(name: str) -> None:
    """Whatever breaks into one finds no right to use, no file to change, and no more of the machine than its share."""
    service = _ALL[name]
    assert service["read_only"] is True
    assert service["init"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "pid", "ipc", "network_mode", "devices"} & set(service)
    assert not any("docker.sock" in volume for volume in service.get("volumes", ()))
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert service["healthcheck"]["test"]
    assert service["restart"] == "unless-stopped"
    assert service["logging"]["options"]["max-size"]


def test_each_process_is_a_user_without_rights() -> None:
    """The Dockerfile's own, or one that the image brings; those of the monitoring's images have none by themselves."""
    users = re.findall(r"^USER (.+)$", _DOCKERFILE, re.MULTILINE)
    assert users == ["10001:10001"]
    built = {name for name, service in _SERVICES.items() if "build" in service}
    assert built == {"backend", "worker", "python-service"}
    assert not any("user" in _SERVICES[name] for name in built)
    assert {name: service["user"] for name, service in _SERVICES.items() if name not in built} == {
        "postgres": "postgres", "redis": "redis",
    }  # fmt: skip


def test_processes_are_waited_for_until_they_are_ready() -> None:
    """Seesame's own ask `/health/ready`; nobody waits for CLIP, which the built-in model stands in for."""
    for name in ("backend", "worker", "python-service"):
        assert _SERVICES[name]["healthcheck"]["test"] == ["CMD", "python", "-m", "seesame.health"], name
    waits = {name: service.get("depends_on", {}) for name, service in _SERVICES.items()}
    assert {name: set(others) for name, others in waits.items() if others} == {
        "backend": {"postgres", "redis"}, "worker": {"backend"},
    }  # fmt: skip
    assert all(wait["condition"] == "service_healthy" for others in waits.values() for wait in others.values())


def test_what_is_kept_is_in_volumes_and_secrets_go_to_those_who_need_them() -> None:
    """Pictures, the database and models outlive containers; the worker has no key to everything."""
    assert {name: service.get("volumes", []) for name, service in _SERVICES.items()} == {
        "backend": ["data:/var/lib/seesame", "models:/var/cache/seesame"],
        "worker": ["data:/var/lib/seesame", "models:/var/cache/seesame"],
        "python-service": ["models:/var/cache/seesame"],
        "postgres": ["postgres:/var/lib/postgresql"],
        "redis": [],
    }
    assert {name: set(service["secrets"]) for name, service in _SERVICES.items()} == {
        "backend": {"database_url", "redis_url", "seesame_admin_key", "seesame_clip_key"},
        "worker": {"database_url", "redis_url", "seesame_clip_key"},
        "python-service": {"seesame_clip_key"},
        "postgres": {"postgres_password"},
        "redis": {"redis.conf"},
    }


def test_only_what_has_pages_is_published_and_what_keeps_data_has_no_way_out() -> None:
    """On this machine alone, unless SEESAME_PUBLISH says otherwise."""
    assert _compose(_PRODUCTION)["networks"]["inside"] == {"internal": True}
    assert {name: service["ports"] for name, service in _ALL.items() if "ports" in service} == {
        "backend": ["${SEESAME_PUBLISH:-127.0.0.1:8000}:8000"],
        "grafana": ["${SEESAME_PUBLISH_GRAFANA:-127.0.0.1:3000}:3000"],
    }
    assert {name for name, service in _SERVICES.items() if service["networks"] == ["inside"]} >= {
        "postgres", "redis", "worker",
    }  # fmt: skip


@pytest.mark.parametrize("path", [_PRODUCTION, _DEVELOPMENT, *_OVERLAYS], ids=lambda path: path.name)
def test_settings_exist_and_what_else_can_be_set_is_in_the_guide(path: Path) -> None:
    """A misspelt variable would be no error anywhere, and have no effect."""
    text = path.read_text()
    for variable in set(re.findall(r"\$\{(\w+)", text)) - _SETTINGS:
        assert f"| `{variable}` |" in _GUIDE, variable
    own = {
        variable
        for service in _compose(path)["services"].values()
        if not service.get("image", "seesame").startswith(("pgvector", "redis", "prom", "grafana"))
        for variable in service.get("environment", ())
    }
    assert own - {"PYTHONPATH"} <= _SETTINGS


def test_an_overlay_changes_only_what_is_there() -> None:
    """A name that the main file does not have would become a service or a network of its own."""
    for path in _OVERLAYS:
        overlay = _compose(path)
        assert set(overlay["services"]) <= set(_ALL), path.name
        assert set(overlay.get("networks", ())) <= set(_compose(_PRODUCTION)["networks"]), path.name


def test_images_are_built_of_stages_that_exist() -> None:
    """And the last stage is what a build without a target makes: the backend."""
    stages = re.findall(r"^FROM \S+ AS (\S+)$", _DOCKERFILE, re.MULTILINE)
    for path in (_PRODUCTION, _DEVELOPMENT, *_OVERLAYS):
        for service in _compose(path)["services"].values():
            assert "build" not in service or service["build"]["target"] in stages, path.name
    assert stages[-1] == "backend"


def test_a_build_is_sent_what_it_copies_and_nothing_else() -> None:
    """No `.git`, no secrets, no data, no environment of the developer's."""
    copies = re.findall(r"^COPY (?!--from)(.*) \S+$", _DOCKERFILE, re.MULTILINE)
    copied = {name for copy in copies for name in copy.split()}
    rules = [line for line in (_ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied
    assert all((_ROOT / name).exists() for name in copied)


def test_secrets_are_made_once(tmp_path: Path) -> None:
    """All that Compose mounts; each long, of its own, kept at the next run, and in a folder of the user's alone."""
    folder = tmp_path / "secrets"
    command = ["sh", str(_ROOT / "deploy" / "make_secrets.sh"), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    made = {path.name: path.read_text() for path in folder.iterdir()}
    assert set(made) == {*_compose(_PRODUCTION)["secrets"], *_MONITORING["secrets"]}
    assert set(made) == {secret for service in _ALL.values() for secret in service.get("secrets", ())}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert made["postgres_password"].strip() in made["database_url"]
    assert made["redis.conf"].split()[1] in made["redis_url"]
    keys = {made[name].strip() for name in ("postgres_password", "seesame_admin_key", "seesame_clip_key")}
    assert {len(key) for key in keys} == {64}
    assert len(keys) == 3
    (folder / "seesame_clip_key").unlink()
    subprocess.run(command, check=True, capture_output=True)
    again = {path.name: path.read_text() for path in folder.iterdir()}
    assert again.pop("seesame_clip_key") != made.pop("seesame_clip_key")
    assert again == made


def test_the_guide_names_services_and_files_that_exist() -> None:
    """Its commands cannot all be run here, but none may miss its aim."""
    aimed = re.findall(r"docker compose (?:exec|logs)(?: -\S+)* ([a-z-]+)|--scale ([a-z-]+)=", _GUIDE)
    assert {name for names in aimed for name in names if name} <= set(_SERVICES)
    for name in re.findall(r"(?:docker-compose|deploy/)[\w./-]*\.(?:yml|sh)", _GUIDE):
        assert (_ROOT / name).exists(), name


class _Process(HTTPServer):
    """What answers at /health/ready with its `status`."""

    status = 200


class _Answering(BaseHTTPRequestHandler):
    server: _Process

    def do_GET(self) -> None:
        self.send_response(self.server.status if self.path == "/health/ready" else 404)
        self.end_headers()
        self.wfile.write(b'{"code":"draining"}')

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def process() -> Iterator[_Process]:
    """A process that is ready."""
    with _Process(("127.0.0.1", 0), _Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def _health(port: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "seesame.health"]
    environment = os.environ | {"SEESAME_PORT": str(port)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_check_of_a_container_tells_ready_from_not(process: _Process) -> None:
    """With the reason, which `docker inspect` then shows."""
    assert _health(process.server_port).returncode == 0
    process.status = 503
    refused = _health(process.server_port)
    assert (refused.returncode, refused.stdout) == (1, '{"code":"draining"}\n')


def test_the_check_of_a_container_fails_where_nothing_listens() -> None:
    """In a line, not in a traceback."""
    with _Process(("127.0.0.1", 0), _Answering) as gone:
        port = gone.server_port
    refused = _health(port)
    assert refused.returncode == 1
    assert refused.stdout.startswith("No answer: ")
    assert not refused.stderr
