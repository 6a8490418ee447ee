"""Two APIs behind the proxy of `deploy/nginx.conf` are restarted one after the other while customers are served."""

import itertools
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx2
import pytest

from seesame.db.embedded import EmbeddedPostgres
from tests.certificates import Certificate, self_signed
from tests.conftest import copied_database, picture
from tests.faults.conftest import Figures
from tests.faults.processes import Process, eventually, free_port, running
from tests.requirements import require_or_skip

_CONFIGURATION = Path(__file__).parents[2] / "deploy" / "nginx.conf"
_CLIENTS = 4
_PAUSE_S = 0.02  # of a client, between two rounds
_NAME = "localhost"
_KEY = "k" * 64


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """The self-signed certificate of the proxy, and its key, in files named as the example has them."""
    return self_signed(tmp_path_factory.mktemp("tls"), _NAME)


@contextmanager
def _proxy(folder: Path, certificate: Certificate, backends: tuple[Process, Process]) -> Iterator[str]:
    """The proxy of the example in front of these; its address."""
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin") or shutil.which("nginx")
    nginx = nginx or require_or_skip("nginx", "nginx is not on the PATH")
    port = free_port()
    text = _CONFIGURATION.read_text()
    for example, own in {
        "127.0.0.1:8000": f"127.0.0.1:{backends[0].port}",
        "127.0.0.1:8010": f"127.0.0.1:{backends[1].port}",
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "/etc/ssl/seesame": str(certificate.chain.parent),
        "/var/log/nginx": str(folder),
    }.items():
        assert example in text
        text = text.replace(example, own)
    path = folder / "nginx.conf"
    path.write_text(text)
    options = f"daemon off; pid {folder}/nginx.pid;"
    process = subprocess.Popen([nginx, "-c", str(path), "-g", options, "-e", str(folder / "error.log")])
    try:
        with httpx2.Client(verify=_trusting(certificate), trust_env=False) as client:
            eventually(lambda: _status(partial(client.get, f"https://{_NAME}:{port}/health/live")) == 200)
        yield f"https://{_NAME}:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _status(ask: Callable[[], httpx2.Response]) -> int:
    """The status of the reply; 0: none came."""
    try:
        return ask().status_code
    except httpx2.HTTPError:
        return 0


def _trusting(certificate: Certificate) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate.chain)


def test_nobody_notices_a_restart(
    postgres: EmbeddedPostgres, tmp_path: Path, cache_dir: Path, certificate: Certificate, figures: Figures
) -> None:
    """Searches, writes and reads go on: each request is answered with success, over connections that are kept."""
    stop, numbers = threading.Event(), itertools.count()
    replies: list[int] = []
    photo = picture("teal")

    def customer(url: str) -> None:
        with httpx2.Client(base_url=url, verify=_trusting(certificate), timeout=30, trust_env=False) as client:
            client.headers["X-API-Key"] = _KEY
            while not stop.is_set():
                number = next(numbers)
                asks = (
                    partial(client.post, "/v1/search/image", files={"image": photo}),
                    partial(client.put, f"/v1/products/{number % 20}", json={"title": f"{number}"}),
                    partial(client.get, "/v1/products"),
                    partial(client.get, "/admin"),
                )
                replies.extend(map(_status, asks))
                stop.wait(_PAUSE_S)

    with copied_database(postgres) as dsn:
        environment = {
            "DATABASE_URL": dsn,
            "SEESAME_DATA_DIR": str(tmp_path / "data"),
            "SEESAME_CACHE_DIR": str(cache_dir),
            "SEESAME_TRUSTED_PROXIES": "127.0.0.1",
            "SEESAME_ADMIN_KEY": _KEY,
            "SEESAME_RATE_PER_KEY": "1000000/hour",
            "PYTHON_IMAGE_SERVICE_URL": f"http://127.0.0.1:{free_port()}",
        }
        with (
            running(tmp_path, "api", environment) as one,
            running(tmp_path, "api", environment) as other,
            _proxy(tmp_path, certificate, (one, other)) as url,
        ):
            threads = [threading.Thread(target=customer, args=(url,)) for _ in range(_CLIENTS)]
            for thread in threads:
                thread.start()
            try:
                for process in (one, other):
                    served = len(replies)
                    process.end()
                    process.start()
                    process.wait_ready()
                    eventually(lambda: len(replies) > served + 5 * _CLIENTS)  # noqa: B023
            finally:
                stop.set()
                for thread in threads:
                    thread.join()
    failed = [status for status in replies if status not in (200, 201)]
    figures.none("2 × restart behind nginx: requests not answered with success", len(failed), f"{len(replies):,}")
