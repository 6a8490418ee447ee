"""Thousands of requests made up from the API's own description, good and bad ones: each answer is as it is described.

`make fuzz` makes 50,000 of them.
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import httpx2

from seesame.db.embedded import EmbeddedPostgres
from tests.conftest import Shop, sample_shop
from tests.openapi import known_ids

_ROOT = Path(__file__).parents[2]
_CASES = int(os.environ.get("SEESAME_TEST_FUZZ_CASES", "2000"))
_BESIDE = 800  # cases and more, which its other phases make however many are asked for
_MORE = 1.06  # of those that can vary without end, since some operations have but so many inputs
_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "discreet",
    "described",
    "identified",
    "strict",
)


def _description(shop: Shop) -> str:
    """The description that the server gives, with examples that are there."""
    with httpx2.Client(base_url=shop.url, timeout=30) as client:
        document = client.get("/openapi.json").text
        for example, known in known_ids(client, shop.photo_product_id).items():
            document = document.replace(example, known)
    return document


def test_every_answer_is_as_it_is_described(postgres: EmbeddedPostgres, tmp_path: Path, cache_dir: Path) -> None:
    """No fault of ours, only statuses, types and shapes that the description has, and nothing of the inside."""
    report = tmp_path / "report.json"
    with sample_shop(postgres, tmp_path, cache_dir, every=16) as shop:
        document = _description(shop)
        (tmp_path / "openapi.json").write_text(document)
        operations = [each for path in json.loads(document)["paths"].values() for each in path.values()]
        varied = [each for each in operations if "parameters" in each or "requestBody" in each]
        command = [sys.executable, "-m", "schemathesis.cli", "run", "openapi.json"]
        options = {
            "url": shop.url,
            "checks": ",".join(_CHECKS),
            "phases": "examples,coverage,fuzzing",
            "max-examples": math.ceil(_MORE * (_CASES - _BESIDE) / len(varied)),
            "seed": 1,
            "workers": 1,
            "report": "json",
            "report-json-path": report,
            "request-timeout": 30,
            "suppress-health-check": "all",
        }
        paths = os.pathsep.join([str(_ROOT), *sys.path])
        done = subprocess.run(
            [*command, *(f"--{name}={value}" for name, value in options.items()), "--continue-on-failure"],
            cwd=tmp_path,
            env=os.environ | {"SCHEMATHESIS_HOOKS": "tests.acceptance.fuzz_checks", "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            check=False,
        )
        assert httpx2.get(f"{shop.url}/health/ready", timeout=30).status_code == 200
    assert done.returncode == 0, "\n".join(line[:300] for line in (done.stdout + done.stderr).splitlines())
    found = json.loads(report.read_text())
    assert found["test_cases"]["generated"] >= _CASES
    assert found["operations"]["tested"] == len(operations)
