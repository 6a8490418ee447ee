"""Collections of malformed pictures, such as image libraries keep for their own tests, sent to a server.

`SEESAME_TEST_CORPORA` is a folder of them, in any number of folders below it: the tests of Pillow and of the Rust crate
`image`, PngSuite, examples of EXIF's orientations, or whatever a fuzzer has found.
"""

import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import psutil
import pytest

from tests.conftest import picture
from tests.faults.processes import client_of, running
from tests.requirements import environment

_CLIENTS = 4
_WARM_UP = 40
_P99_S, _GROWTH_MB = 1.0, 100
_REFUSED = {413, 415, 422}


def test_no_picture_of_the_corpora_harms_a_server(
    tmp_path: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each gets an answer or a refusal within a second; no process dies of it, and none grows."""
    corpora = Path(environment("SEESAME_TEST_CORPORA", "corpora"))
    files = [path for path in sorted(corpora.rglob("*")) if path.is_file() and ".git" not in path.parts]
    chosen = {"SEESAME_DATA_DIR": str(tmp_path / "data"), "SEESAME_CACHE_DIR": str(cache_dir), "HF_HUB_OFFLINE": "1"}
    chosen["SEESAME_QUERY_PHOTOS_MB"] = "0"  # photos that are kept on purpose are no growth
    local = threading.local()
    clients: list[httpx2.Client] = []

    def send(data: bytes) -> tuple[int, float]:
        if not hasattr(local, "client"):
            local.client = client_of(server.url)
            clients.append(local.client)
        started = time.monotonic()
        reply = local.client.post("/v1/search/image", files={"image": data})
        return reply.status_code, time.monotonic() - started

    with running(tmp_path, "up", chosen) as server, ThreadPoolExecutor(_CLIENTS) as threads:
        warm = [threads.submit(send, picture(size=(1_600, 1_200), spot=number)) for number in range(_WARM_UP)]
        assert {future.result()[0] for future in warm} == {200}
        before = _resident_mb(server.popen.pid)
        sent = {path: threads.submit(send, path.read_bytes()) for path in files}
        replies = {path: future.result() for path, future in sent.items()}
        growth = _resident_mb(server.popen.pid) - before
        lost = server.get("/metrics")
        assert server.is_ready()
        server.end()
    for client in clients:
        client.close()
    statuses = Counter(status for status, _ in replies.values())
    times = sorted(took for _, took in replies.values())
    p99 = times[int(0.99 * len(times))]
    ends = [line for line in lost.text.splitlines() if line.startswith("seesame_decoder_ends_total")] if lost else []
    with capsys.disabled():
        sys.stdout.write(
            f"\n{len(files):,} files: {dict(statuses)}; median {times[len(times) // 2]:.3f} s, p99 {p99:.3f} s, "
            f"longest {times[-1]:.3f} s; {growth:+.0f} MB; {'; '.join(ends)}\n"
        )
    assert {path: reply for path, reply in replies.items() if reply[0] not in _REFUSED | {200}} == {}
    assert p99 <= _P99_S, sorted((took, path) for path, (_, took) in replies.items())[-10:]
    assert growth < _GROWTH_MB


def _resident_mb(pid: int) -> float:
    """Of a process and those that it decodes in."""
    process = psutil.Process(pid)
    decoding = [c for c in process.children() if any("seesame.decoding" in part for part in c.cmdline())]
    return float(sum(each.memory_info().rss for each in (process, *decoding)) / 2**20)
