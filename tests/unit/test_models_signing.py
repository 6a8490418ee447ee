"""Quantised networks whose unsigned weights become signed."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from seesame.models.signing import gains_from_signs, sign

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"


def _computed(model: onnx.ModelProto, data: NDArray[np.generic]) -> list[NDArray[np.generic]]:
    """By the reference of ONNX, which computes alike on every processor."""
    return list(ReferenceEvaluator(model).run(None, {model.graph.input[0].name: data}))


def _kinds(model: onnx.ModelProto) -> dict[str, int]:
    return {tensor.name: tensor.data_type for tensor in model.graph.initializer}


def _product(*, zero: bool = True, also: bool = False) -> onnx.ModelProto:
    nodes = [helper.make_node("MatMulInteger", ["x", "w", "x_zero", "w_zero"] if zero else ["x", "w"], ["y"])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.INT32, [2, 3])]
    if also:
        nodes.append(helper.make_node("Identity", ["w"], ["copy"]))
        outputs.append(helper.make_tensor_value_info("copy", TensorProto.UINT8, [4, 3]))
    weights = np.random.default_rng(1).integers(0, 256, (4, 3), dtype=np.uint8)
    constants = {"w": weights, "x_zero": np.uint8(7), "w_zero": np.uint8(131)}
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [2, 4])],
        outputs,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def test_an_exported_network_computes_the_very_same() -> None:
    """The quantised file as transformers.js publishes it."""
    model = onnx.load(GOLDENS / "transformers_js/onnx/vision_model_quantized.onnx")
    shape = [side.dim_value or 2 for side in model.graph.input[0].type.tensor_type.shape.dim]
    shape = [2, 3, *([shape[-1]] * 2)]
    data = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    before = _computed(model, data)
    products = sum(node.op_type in ("MatMulInteger", "ConvInteger") for node in model.graph.node)
    assert sign(model) == products > 0
    onnx.checker.check_model(model)
    for then, now in zip(before, _computed(model, data), strict=True):
        np.testing.assert_array_equal(now, then)
    assert sign(model) == 0


def test_a_product_of_bytes_stays_the_same() -> None:
    """Weights over the whole range of a byte, and a zero point off the middle."""
    model = _product()
    data = np.random.default_rng(2).integers(0, 256, (2, 4), dtype=np.uint8)
    (before,) = _computed(model, data)
    assert sign(model) == 1
    assert (_kinds(model)["w"], _kinds(model)["w_zero"]) == (TensorProto.INT8, TensorProto.INT8)
    np.testing.assert_array_equal(_computed(model, data)[0], before)


@pytest.mark.parametrize("model", [_product(zero=False), _product(also=True)], ids=["no zero point", "used elsewhere"])
def test_what_it_does_not_know_stays(model: onnx.ModelProto) -> None:
    """Weights without a zero point, and weights that something else reads."""
    before = model.SerializeToString()
    assert sign(model) == 0
    assert model.SerializeToString() == before


def test_which_processors_gain() -> None:
    """Those that multiply unsigned by signed bytes without losing bits."""
    assert gains_from_signs("flags : fpu avx2 avx_vnni")
    assert gains_from_signs("flags : fpu avx512f avx512_vnni")
    assert not gains_from_signs("flags : fpu avx2 avx512f")
    assert not gains_from_signs("Features : fp asimd asimddp")
