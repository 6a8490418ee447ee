"""What Prometheus gets, and what the dashboard and the alerts make of it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from promql_parser import AggregateExpr, BinaryExpr, Call, MatrixSelector, ParenExpr, VectorSelector

from seesame.application import open_application
from seesame.db.embedded import EmbeddedPostgres
from tests.conftest import copied_database, served, shop_settings
from tests.integration.test_clip_service import serving
from tests.models import until

_ROOT = Path(__file__).parents[2]
_OF_PROMETHEUS = {"up"}
_LABELS_OF_PROMETHEUS = {"job", "instance"}
_TOLD = {"stage", "part", "kind"}  # labels of which all values are seen after a little work

Scraped = dict[str, list[dict[str, str]]]


@pytest.fixture(scope="module")
def scraped(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, cache_dir: Path, image_host: str
) -> Scraped:
    """The series, by name, of an API with an indexer and of the CLIP service that it asks, after a little work."""
    with copied_database(postgres) as dsn, serving(cache_dir=cache_dir) as clip:
        settings = shop_settings(dsn, tmp_path_factory.mktemp("shop"), cache_dir)
        changes = {"clip_url": clip.server.url, "allowed_image_hosts": image_host, "decode_processes": 1}
        settings = settings.model_copy(update=changes)
        with open_application(settings) as application, served(application) as client:
            picture = f"http://{image_host}/shoe.jpg"
            sent = client.post("/v1/imports", files={"file": ("a.csv", f"product_id,image\na,{picture}\n")})
            assert sent.status_code == 202, sent.text
            until(lambda: _is_found(client, picture))
            texts = client.get("/metrics").text, clip.get("/metrics").text
    series: Scraped = {}
    for name, labels in _series(texts):
        series.setdefault(name, []).extend(labels)
    return series


def _is_found(client: httpx2.Client, picture: str) -> bool:
    """Whether CLIP answers, and finds what was imported."""
    answer = client.post("/v1/search", json={"queries": [{"image": {"url": picture}}]}).json()
    return answer.get("degraded") is False and len(answer["results"]) == 1


def _series(texts: tuple[str, ...]) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Each name that may be asked for, with the labels of what it has now."""
    for family in (family for text in texts for family in text_string_to_metric_families(text)):
        suffixes = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",)}.get(family.type, ("",))
        for suffix in suffixes:
            name = family.name + suffix
            yield name, [sample.labels for sample in family.samples if sample.name == name]


class _Asked(NamedTuple):
    """A selector of an expression, and the labels that the expression groups by."""

    name: str
    matchers: list[tuple[str, str, str]]  # label, operator, value
    grouped: frozenset[str]


def _expressions() -> Iterator[tuple[str, str]]:
    """Each with the title of its panel, or the name of its alert."""
    dashboard = json.loads((_ROOT / "deploy/grafana/seesame.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m")
    for group in yaml.safe_load((_ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def _asked(expression: Any, grouped: frozenset[str] = frozenset()) -> Iterator[_Asked]:
    match expression:
        case VectorSelector():
            assert expression.name is not None
            matchers = [(m.name, str(m.op), m.value) for m in expression.matchers.matchers]
            yield _Asked(expression.name, matchers, grouped)
        case MatrixSelector():
            yield from _asked(expression.vector_selector, grouped)
        case AggregateExpr():
            by = expression.modifier.labels if expression.modifier else ()
            yield from _asked(expression.expr, grouped | frozenset(by))
        case BinaryExpr():
            yield from _asked(expression.lhs, grouped)
            yield from _asked(expression.rhs, grouped)
        case ParenExpr():
            yield from _asked(expression.expr, grouped)
        case Call():
            for argument in expression.args:
                yield from _asked(argument, grouped)


def _documented() -> dict[str, set[str]]:
    """The labels of each metric, by the reference, which another test compares with the code."""
    rows = re.findall(r"^\| `(\w+)` \| \w+ \| (.*?) \|", (_ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def _metric_of(name: str) -> str:
    return re.sub(r"_(bucket|sum|count)$", "", name)


@pytest.mark.parametrize(("title", "expression"), list(_expressions()))
def test_an_expression_asks_for_what_there_is(scraped: Scraped, title: str, expression: str) -> None:
    """It parses, and each name, label, and value of a label that one run shows, is there."""
    selectors = [each for each in _asked(promql_parser.parse(expression)) if each.name not in _OF_PROMETHEUS]
    assert selectors or "up{" in expression
    documented = _documented()
    for name, matchers, grouped in selectors:
        assert name in scraped, f"{title}: {name}"
        if name.startswith("process_"):
            continue
        labels = documented[_metric_of(name)] | _LABELS_OF_PROMETHEUS | ({"le"} if name.endswith("_bucket") else set())
        assert {label for label, _, _ in matchers} | grouped <= labels, f"{title}: {name}"
        for label, operator, value in matchers:
            if label in _TOLD and operator == "MatchOp.Equal":
                assert value in {series.get(label) for series in scraped[name]}, f"{title}: {label}={value}"


def test_all_that_is_told_is_shown() -> None:
    """No metric of ours that neither the dashboard nor an alert asks for."""
    asked = {_metric_of(a.name) for _, text in _expressions() for a in _asked(promql_parser.parse(text))}
    assert set(_documented()) - asked == set()


def test_each_stage_is_measured(scraped: Scraped) -> None:
    """Of a search, of a picture's fetch, of the index and of an import."""
    stages = {
        "seesame_search_seconds_count": {"embedding", "total"},
        "seesame_indexing_batch_seconds_count": {"embedding", "total"},
        "seesame_import_batch_seconds_count": {"read", "store", "write"},
        "seesame_clip_stage_seconds_count": {"queue", "decode", "inference"},
        "seesame_embedder_stage_seconds_count": {"queue", "decode", "inference"},
    }
    assert {name: {series["stage"] for series in scraped[name]} for name in stages} == stages
    assert {"outcome": "ok"} in scraped["seesame_fetch_seconds_count"]
    assert {(each["kind"], each["outcome"]) for each in scraped["seesame_clip_request_seconds_count"]} >= {
        ("query", "ok"),
        ("bulk", "ok"),
    }
    assert "/v1/imports" in {each["route"] for each in scraped["seesame_http_upload_seconds_count"]}
