"""Networks that compute a row of their last layer where a row is all that is read."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from seesame.models.pruning import prune

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
TOKENS, WIDTH = 5, 4
Node = tuple[str, list[str], str, dict[str, Any]]


def _computed(model: onnx.ModelProto, seed: int = 1) -> list[np.ndarray[Any, Any]]:
    options = ort.SessionOptions()
    options.log_severity_level = 3  # that constants are no longer used
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    kind = np.float16 if given.type == "tensor(float16)" else np.float32
    shape = [side if isinstance(side, int) else 3 for side in given.shape]
    data = np.random.default_rng(seed).standard_normal(shape).astype(kind)
    return [np.asarray(output) for output in session.run(None, {given.name: data})]


@pytest.mark.parametrize(
    ("file", "products"),
    [
        ("transformers_js/onnx/vision_model.onnx", 3),
        ("transformers_js/onnx/vision_model_fp16.onnx", 3),
        ("transformers_js/onnx/vision_model_quantized.onnx", 0),  # it rounds by what is in all rows
        ("immich/visual/model.onnx", 2),
        ("siglip/onnx/vision_model.onnx", 2),
    ],
)
def test_exported_networks_compute_the_same_with_less(file: str, products: int) -> None:
    """What transformers and open_clip export: the last layer's products become smaller, the vectors stay."""
    model = onnx.load(GOLDENS / file)
    before = _computed(model)
    assert prune(model) == products
    onnx.checker.check_model(model)
    for then, now in zip(before, _computed(model), strict=True):
        np.testing.assert_allclose(now, then, rtol=1e-3 if then.dtype == np.float16 else 1e-5, atol=1e-6)


def _network(nodes: list[Node], outputs: dict[str, list[Any]], **constants: np.ndarray[Any, Any]) -> onnx.ModelProto:
    """A network on `x`, (n, TOKENS, WIDTH)."""
    weights = np.random.default_rng(0).standard_normal((WIDTH, WIDTH), dtype=np.float32)
    named = {"w": weights, "zero": np.array(0), "three": np.array(3), "last": np.array(-1)} | constants
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, [output], **attributes) for kind, inputs, output, attributes in nodes],
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", TOKENS, WIDTH])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in named.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


MATMUL: Node = ("MatMul", ["x", "w"], "y", {})
FIRST: Node = ("Gather", ["y", "zero"], "out", {"axis": 1})
OUT: dict[str, list[Any]] = {"out": ["n", WIDTH]}


@pytest.mark.parametrize(
    ("nodes", "outputs", "products"),
    [
        pytest.param([MATMUL, FIRST], OUT, 1, id="the first row"),
        pytest.param([MATMUL, ("Gather", ["y", "three"], "out", {"axis": 1})], OUT, 1, id="another row"),
        pytest.param([MATMUL, ("Gather", ["y", "last"], "out", {"axis": 1})], OUT, 0, id="counted from the end"),
        pytest.param([MATMUL, FIRST], OUT | {"y": ["n", TOKENS, WIDTH]}, 0, id="all rows are a result, too"),
        pytest.param(
            [MATMUL, FIRST, ("ReduceSum", ["y"], "sum", {})], OUT | {"sum": [1, 1, 1]}, 0, id="all rows are summed"
        ),
        pytest.param(
            [MATMUL, ("Softmax", ["y"], "z", {"axis": 1}), ("Gather", ["z", "zero"], "out", {"axis": 1})],
            OUT, 0, id="rows depend on each other",
        ),
        pytest.param(
            [("MatMul", ["x", "w"], "z", {}), ("Add", ["z", "x"], "y", {}), FIRST], OUT, 1, id="a residual"
        ),
        pytest.param(
            [
                MATMUL,
                ("Gather", ["y", "zero"], "a", {"axis": 1}),
                ("Gather", ["y", "three"], "b", {"axis": 1}),
                ("Add", ["a", "b"], "out", {}),
            ],
            OUT, 0, id="two different rows",
        ),
        pytest.param(
            [("MatMul", ["x", "w"], "z", {}), ("Transpose", ["z"], "y", {"perm": [1, 0, 2]}),
             ("Gather", ["y", "three"], "out", {"axis": 0})],
            OUT, 1, id="axes that changed places",
        ),
        pytest.param(
            [MATMUL, ("Gather", ["y", "zero"], "out", {"axis": 2})], {"out": ["n", TOKENS]}, 0, id="a column"
        ),
    ],
)  # fmt: skip
def test_only_rows_that_nobody_needs_are_left_out(
    nodes: list[Node], outputs: dict[str, list[Any]], products: int
) -> None:
    """Where one row is read, one is computed; where others are needed, or not surely not, all are."""
    model = _network(nodes, outputs)
    before = _computed(model)
    assert prune(model) == products
    for then, now in zip(before, _computed(model), strict=True):
        np.testing.assert_allclose(now, then, rtol=1e-5, atol=1e-6)


def test_a_row_of_what_is_the_same_for_all_rows() -> None:
    """A term with one row for all is broadcast to the one that is left; one with a row for each gives its own."""
    rows = np.random.default_rng(2).standard_normal((TOKENS, WIDTH), dtype=np.float32)
    model = _network(
        [("MatMul", ["x", "w"], "a", {}), ("Add", ["a", "each"], "b", {}), ("Mul", ["b", "all"], "c", {}),
         ("Gather", ["c", "three"], "out", {"axis": 1})],
        OUT, each=rows, all=rows[:1],
    )  # fmt: skip
    (before,) = _computed(model)
    assert prune(model) == 1
    np.testing.assert_allclose(_computed(model)[0], before, rtol=1e-5)
