"""Networks that are prepared for this machine once, and checked whenever they are opened."""

import logging
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from seesame.models import clip
from seesame.models.clip import ClipModel

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
SIDE = 64
TENSORS = np.random.default_rng(1).standard_normal((3, 3, SIDE, SIDE), dtype=np.float32)


@pytest.fixture(autouse=True)
def _small_networks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip, "_PREPARED_BYTES", 0)


def _load(cache_dir: Path | None, folder: Path = GOLDENS / "immich") -> ClipModel:
    return ClipModel.load(folder, name="tiny", threads=2, cache_dir=cache_dir)


def _graph(cache_dir: Path) -> Path:
    (graph,) = (cache_dir / "prepared").glob("*/model.onnx")
    return graph


def test_it_computes_the_same_and_is_prepared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone or beside others, the vectors are those of the file itself; so is the space; the next start is quick."""
    itself, first = _load(None), _load(tmp_path)
    assert first.identity == itself.identity
    assert (itself.parallel_runs, first.parallel_runs) == (1, 2)
    expected = itself.images(TENSORS)
    for alone in (True, False):
        np.testing.assert_allclose(first.images(TENSORS, alone=alone), expected, atol=1e-5)
    monkeypatch.setattr(subprocess, "run", None)  # nothing is prepared again
    again = _load(tmp_path)
    np.testing.assert_allclose(again.images(TENSORS, alone=False), expected, atol=1e-5)


@pytest.mark.parametrize("layout", ["transformers_js", "siglip"])
def test_other_layouts(tmp_path: Path, layout: str) -> None:
    """The networks of transformers are prepared as well."""
    expected = _load(None, GOLDENS / layout)
    size = expected.preprocessing.size
    tensors = np.random.default_rng(1).standard_normal((2, 3, *size), dtype=np.float32)
    model = _load(tmp_path, GOLDENS / layout)
    assert model.parallel_runs == 2
    np.testing.assert_allclose(model.images(tensors, alone=False), expected.images(tensors), atol=1e-5)


@pytest.mark.parametrize("damage", ["cut", "other", "gone", "manifest"])
def test_a_damaged_file_is_made_again(tmp_path: Path, damage: str) -> None:
    """Weights that are cut, changed or missing are found before they are used."""
    expected = _load(tmp_path).images(TENSORS)
    weights = _graph(tmp_path).with_name("weights.bin")
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "other":
        weights.write_bytes(bytes(len(weights.read_bytes())))
    elif damage == "gone":
        weights.unlink()
    else:
        weights.with_name("manifest.json").write_text("{}", encoding="ascii")
    model = _load(tmp_path)
    assert model.parallel_runs == 2
    np.testing.assert_allclose(model.images(TENSORS), expected, atol=1e-6)


def test_what_computes_something_else_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The network itself is used then, and the log says so."""
    other = tmp_path / "other"
    shutil.copytree(GOLDENS / "immich", other)
    made = _graph_of_another(tmp_path / "donor")

    def wrong(command: list[str], **_: object) -> None:
        for file in made.parent.glob("*"):
            shutil.copy(file, command[-1])

    monkeypatch.setattr(subprocess, "run", wrong)
    with caplog.at_level(logging.WARNING):
        model = _load(tmp_path / "cache", other)
    assert "computes something else" in caplog.text
    assert model.parallel_runs == 1
    np.testing.assert_allclose(model.images(TENSORS), _load(None).images(TENSORS), atol=1e-6)
    assert not list((tmp_path / "cache" / "prepared").iterdir())


def _graph_of_another(cache_dir: Path) -> Path:
    """A prepared network that is like the other, but for its weights."""
    _load(cache_dir)
    graph = _graph(cache_dir)
    weights = graph.with_name("weights.bin")
    numbers = np.frombuffer(weights.read_bytes(), np.float32)
    weights.write_bytes((numbers * np.linspace(0.5, 1.5, len(numbers), dtype=np.float32)).tobytes())
    return graph


def test_a_cache_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The network is used as it is, and the log tells what that costs."""
    (tmp_path / "prepared").write_text("in the way", encoding="ascii")
    with caplog.at_level(logging.WARNING):
        model = _load(tmp_path)
    assert "in more memory" in caplog.text
    assert model.parallel_runs == 1


def test_several_at_once(tmp_path: Path) -> None:
    """All get what the first of them made, and nothing else is left."""
    with ThreadPoolExecutor(3) as pool:
        models = list(pool.map(_load, [tmp_path] * 3))
    assert [model.parallel_runs for model in models] == [2, 2, 2]
    assert list((tmp_path / "prepared").iterdir()) == [_graph(tmp_path).parent]
