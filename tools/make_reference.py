"""Writes the reference in docs/ from the code. A test compares it with what this would write."""

import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from api_page import api_page
from licences import licences_page
from settings_page import settings_page

DOCS = Path(__file__).parents[1] / "docs"


def openapi() -> str:
    """The API's description; needs no database."""
    from seesame.api.app import describe

    return _json(describe())


def clip_openapi() -> str:
    """The CLIP service's description; needs no model."""
    from seesame.clip_service.app import describe

    return _json(describe())


def _json(description: dict[str, Any]) -> str:
    return json.dumps(description, indent=1, ensure_ascii=False) + "\n"


def commands() -> str:
    """The command line's help, as Markdown."""
    command = [sys.executable, "-m", "typer", "seesame.cli", "utils", "docs", "--name", "seesame"]
    environment = os.environ | {"COLUMNS": "120", "TERM": "dumb"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return html.unescape(done.stdout.strip()) + "\n"


_METRICS = """# Metrics

`GET /metrics` of each process, in Prometheus' text format. The API and `seesame up` listen on port 8000, the CLIP
service on 8001, the worker on 8002. Beside what is below, on Linux each tells `process_resident_memory_bytes`,
`process_cpu_seconds_total`, `process_open_fds`, `process_max_fds` and more of
[prometheus_client](https://prometheus.github.io/client_python/collector/). Of a histogram there are `_bucket`, `_sum`
and `_count`. `/metrics` asks the database nothing: what was counted there is at most some seconds old, in a backlog of
millions 20 times as old as the count takes.

`deploy/grafana` has a dashboard, `deploy/prometheus` alerts, both of these metrics alone.
"""


def metrics() -> str:
    """All that the processes tell Prometheus; needs no database."""
    from prometheus_client import CollectorRegistry
    from starlette.applications import Starlette

    from seesame import images
    from seesame.clip_service.metrics import ClipMetrics
    from seesame.http.metrics import DecoderReadings, RequestMetrics, process_registry
    from seesame.metrics import Readings, ShopMetrics

    release = [c for c in process_registry()._collector_to_names if hasattr(c, "_labelnames")]  # noqa: SLF001
    requests = RequestMetrics(Starlette(), registry=CollectorRegistry())
    parts = {
        "Every process": release,
        "Decoding of pictures: every process": DecoderReadings(images).describe(),
        "Requests: API and CLIP service": vars(requests).values(),
        "API and worker": [*vars(ShopMetrics()).values(), *Readings(dict).describe()],
        "CLIP service": vars(ClipMetrics(CollectorRegistry())).values(),
    }
    sections = [_METRICS]
    for title, collectors in parts.items():
        rows = sorted(_metric(each) for each in collectors if hasattr(each, "_labelnames"))
        sections.append(f"\n## {title}\n\n| name | type | labels | |\n|---|---|---|---|\n" + "".join(rows))
    return "".join(sections)


def _metric(collector: Any) -> str:
    (metric,) = collector.describe() if hasattr(collector, "describe") else (collector,)
    name = f"{metric.name}_total" if metric.type == "counter" else metric.name
    labels = ", ".join(f"`{label}`" for label in collector._labelnames)  # noqa: SLF001
    return f"| `{name}` | {metric.type} | {labels} | {metric.documentation} |\n"


def api() -> str:
    """The API as a page to read."""
    from seesame.api.app import describe

    return api_page(describe())


def decisions() -> str:
    """The list of the decisions, by their titles."""
    lines = ["# Decisions", "", "What was decided, why, and what else was tried, with figures; a page each.", ""]
    for page in sorted((DOCS / "decisions").glob("[0-9]*.md")):
        title = re.sub(r"^# (\d+\. )?", "", page.read_text().partition("\n")[0])
        lines.append(f"- [{page.name[:4]}]({page.name}): {title}")
    return "\n".join(lines) + "\n"


REFERENCE = {
    "openapi.json": openapi,
    "clip-openapi.json": clip_openapi,
    "api.md": api,
    "cli.md": commands,
    "metrics.md": metrics,
    "settings.md": settings_page,
    "licences.md": licences_page,
    "decisions/index.md": decisions,
}


if __name__ == "__main__":
    for name, make in REFERENCE.items():
        (DOCS / name).write_text(make())
        print(DOCS / name)
