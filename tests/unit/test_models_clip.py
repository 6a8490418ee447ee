"""What ClipModel reads from a graph, and what it refuses; with small graphs made here."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from seesame.errors import ModelInvalid
from seesame.models import ClipModel
from seesame.models import session as session_module
from seesame.models.session import default_threads
from seesame.models.tokens import clean
from seesame.models.vectors import unit_rows
from seesame.models.weights import model_files

SIDE, DIMENSIONS = 8, 6
PIXELS = 3 * SIDE * SIDE


def _projection(
    batch: int | str = "n",
    *,
    name: str = "pixel_values",
    shape: tuple[Any, ...] = (3, SIDE, SIDE),
    kind: int = TensorProto.FLOAT,
    outputs: tuple[str, ...] = ("image_embeds",),
    scale: float = 1.0,
    hidden_batch: int | None = None,
) -> onnx.ModelProto:
    """A picture tower that is one matrix."""
    matrix = np.random.default_rng(0).standard_normal((PIXELS, DIMENSIONS)).astype(np.float32) * np.float32(scale)
    nodes = [
        helper.make_node("Cast", [name], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["pixels", "flat"], ["rows"]),
        helper.make_node("MatMul", ["rows", "matrix"], [outputs[0]]),
        *(helper.make_node("Identity", [outputs[0]], [other]) for other in outputs[1:]),
    ]
    flat = np.array([hidden_batch or -1, PIXELS], dtype=np.int64)
    graph = helper.make_graph(
        nodes,
        "projection",
        [helper.make_tensor_value_info(name, kind, [batch, *shape])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in outputs],
        [numpy_helper.from_array(matrix, "matrix"), numpy_helper.from_array(flat, "flat")],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def _folder(folder: Path, model: onnx.ModelProto, **save: Any) -> Path:
    (folder / "onnx").mkdir(parents=True)
    onnx.save(model, folder / "onnx" / "vision_model.onnx", **save)
    config = {"size": SIDE, "crop_size": SIDE}
    (folder / "preprocessor_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def _tensors(count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(1).standard_normal((count, 3, SIDE, SIDE), dtype=np.float32)


@pytest.mark.parametrize("batch", ["n", 1])
def test_any_batch_and_a_batch_of_one_give_the_same(tmp_path: Path, batch: int | str) -> None:
    """Graphs that take one picture are called once for each; the rows are unit vectors in order either way."""
    model = ClipModel.load(_folder(tmp_path, _projection(batch)), name="tiny", threads=2)
    vectors = model.images(_tensors(5))
    np.testing.assert_allclose(vectors[3], model.images(_tensors(5)[3:4])[0], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert model.images(_tensors(0)).shape == (0, DIMENSIONS)
    np.testing.assert_allclose(vectors, model.images(_tensors(5), alone=False), atol=1e-6)
    assert (model.pictures_per_run, model.parallel_runs) == (1 if batch == 1 else 8, 2)


def test_one_thread_computes_one_run_at_a_time(tmp_path: Path) -> None:
    """There is nothing to share then, and batches may be larger."""
    model = ClipModel.load(_folder(tmp_path, _projection()), name="tiny", threads=1)
    assert (model.pictures_per_run, model.parallel_runs) == (16, 1)


def test_a_graph_that_only_promises_any_batch_is_found_out(tmp_path: Path) -> None:
    """A symbolic batch over an inner shape for one: the probe notices, and pictures go one by one."""
    model = ClipModel.load(_folder(tmp_path, _projection("n", hidden_batch=1)), name="tiny")
    assert model.pictures_per_run == 1
    assert model.images(_tensors(3)).shape == (3, DIMENSIONS)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_pictures_are_given_in_the_graphs_own_type(tmp_path: Path, kind: int) -> None:
    """Half, single and double floats come in as the graph wants them; out come float32."""
    model = ClipModel.load(_folder(tmp_path, _projection(kind=kind)), name="tiny")
    assert model.images(_tensors(2)).dtype == np.float32


@pytest.mark.parametrize("outputs", [("hidden", "image_embeds"), ("anything",), ("embedding", "other")])
def test_the_output_is_chosen_by_name_or_because_it_is_the_only_one(tmp_path: Path, outputs: tuple[str, ...]) -> None:
    """A known name wins; a single two-dimensional output needs none."""
    assert (
        ClipModel.load(_folder(tmp_path, _projection(outputs=outputs)), name="tiny").identity.dimensions == DIMENSIONS
    )


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (_projection(4), "takes 4 inputs at a time"),
        (_projection(shape=(3, 16, 16)), "another size"),
        (_projection(shape=(1, SIDE, SIDE)), "another size"),
        (_projection(kind=TensorProto.UINT8), "does not take pictures"),
        (_projection(shape=(PIXELS,)), "does not take pictures"),
        (_projection(outputs=("one", "two")), "no output that is recognisable"),
        (_projection(scale=0.0), "not a direction"),
        (_projection(scale=float("nan")), "not a direction"),
        (_projection(scale=float("inf")), "not a direction"),
    ],
)
def test_graphs_that_are_no_picture_towers_are_refused(tmp_path: Path, graph: onnx.ModelProto, reason: str) -> None:
    """Each is refused when it is loaded, with a reason and without a path."""
    with pytest.raises(ModelInvalid, match=reason) as caught:
        ClipModel.load(_folder(tmp_path, graph), name="tiny")
    assert str(tmp_path) not in str(caught.value)


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    """Rubbish with the right name is named invalid."""
    folder = _folder(tmp_path, _projection())
    (folder / "onnx" / "vision_model.onnx").write_bytes(b"rubbish" * 100)
    with pytest.raises(ModelInvalid, match=r"vision_model\.onnx"):
        ClipModel.load(folder, name="tiny")


def test_a_picture_without_a_direction_is_an_error_not_a_vector(tmp_path: Path) -> None:
    """Infinite pixels lead to ModelInvalid, also when other rows of the batch are sound."""
    model = ClipModel.load(_folder(tmp_path, _projection()), name="tiny")
    tensors = _tensors(3)
    tensors[1] = np.inf
    with pytest.raises(ModelInvalid, match="not a direction"):
        model.images(tensors)


def test_a_failing_run_is_our_error(tmp_path: Path) -> None:
    """Tensors of a wrong size are refused in our words."""
    model = ClipModel.load(_folder(tmp_path, _projection()), name="tiny")
    with pytest.raises(ModelInvalid, match="cannot compute"):
        model.images(np.zeros((1, 3, 4, 4), np.float32))


def test_a_model_without_text_says_so(tmp_path: Path) -> None:
    """has_text is False and texts raises."""
    model = ClipModel.load(_folder(tmp_path, _projection()), name="tiny")
    assert not model.has_text
    with pytest.raises(ModelInvalid, match="no text tower"):
        model.texts(["a red shoe"])


def test_the_digest_follows_weights_and_preprocessing(tmp_path: Path) -> None:
    """The same files give the same digest; another weight or another crop gives another."""
    first = ClipModel.load(_folder(tmp_path / "a", _projection()), name="tiny").identity
    again = ClipModel.load(_folder(tmp_path / "b", _projection()), name="tiny").identity
    other = ClipModel.load(_folder(tmp_path / "c", _projection(scale=2.0)), name="tiny").identity
    folder = _folder(tmp_path / "d", _projection())
    config = {"size": 2 * SIDE, "crop_size": SIDE}
    (folder / "preprocessor_config.json").write_text(json.dumps(config), encoding="utf-8")
    cropped = ClipModel.load(folder, name="tiny").identity
    assert first == again
    assert first.key == f"tiny@{first.digest[:8]}"
    assert len({first.digest, other.digest, cropped.digest}) == 3


# Weights beside the graph


def _external(folder: Path, location: str = "weights.bin") -> Path:
    options = {"save_as_external_data": True, "location": location, "size_threshold": 1024, "convert_attribute": False}
    return _folder(folder, _projection(), **options)


def test_weights_beside_the_graph_are_loaded_and_digested(tmp_path: Path) -> None:
    """They are part of the model: a changed byte there changes the digest."""
    folder = _external(tmp_path)
    graph, weights = folder / "onnx" / "vision_model.onnx", folder / "onnx" / "weights.bin"
    assert model_files(graph) == [graph, weights]
    before = ClipModel.load(folder, name="tiny").identity.digest
    data = bytearray(weights.read_bytes())
    data[100] ^= 1
    weights.write_bytes(data)
    assert ClipModel.load(folder, name="tiny").identity.digest != before


def test_missing_weights_are_named(tmp_path: Path) -> None:
    """The file that is missing beside the graph stands in the message."""
    folder = _external(tmp_path)
    (folder / "onnx" / "weights.bin").unlink()
    with pytest.raises(ModelInvalid, match=r"weights\.bin"):
        model_files(folder / "onnx" / "vision_model.onnx")


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "a/../../b", "..\\secret.bin"])
def test_weights_elsewhere_are_refused(tmp_path: Path, location: str) -> None:
    """A graph cannot make the process read outside its own folder."""
    graph = _external(tmp_path) / "onnx" / "vision_model.onnx"
    model = onnx.load(graph, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    graph.write_bytes(model.SerializeToString())
    with pytest.raises(ModelInvalid, match="outside its own folder"):
        model_files(graph)


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x3a\xff\xff\xff\xff\x0f", b"\x3a\x04\x2a\x10ab"])
def test_files_that_are_no_protobuf_are_refused(tmp_path: Path, content: bytes) -> None:
    """Lengths that run past the end, and no content at all, end in ModelInvalid."""
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelInvalid, match="not an ONNX model"):
        model_files(path)


# Smaller parts


def test_unit_rows_are_unit_rows() -> None:
    """Length 1 in float32, whatever the type and size of what comes in."""
    rows = unit_rows(np.array([[3.0, 4.0], [3e30, 4e30], [3e-30, 4e-30]]))
    np.testing.assert_allclose(rows, [[0.6, 0.8]] * 3, atol=1e-6)
    assert rows.dtype == np.float32


@pytest.mark.parametrize(
    ("text", "cleaning", "expected"),
    [
        ("  a \n b ", "none", "  a \n b "),
        ("  a \n b ", "whitespace", "a b"),
        ("T-shirt &amp;amp; jeans", "whitespace", "T-shirt & jeans"),
        ("Size_XL, Red!", "canonicalize", "size xl red"),
        ("lone \ud800 surrogate", "none", "lone ? surrogate"),
    ],
)
def test_cleaning(text: str, cleaning: Any, expected: str) -> None:
    """As open_clip does it; and what cannot be UTF-8 is replaced."""
    assert clean(text, cleaning) == expected


@pytest.mark.parametrize(
    ("quota", "expected"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 64), ("?", 64)]
)
def test_threads_heed_a_containers_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, expected: int
) -> None:
    """A container with two processors' worth of time gets two threads, on however large a machine."""
    (tmp_path / "cpu.max").write_text(quota, encoding="ascii")
    monkeypatch.setattr(session_module, "_CPU_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr("psutil.cpu_count", lambda **_: 64)
    assert default_threads() == expected
