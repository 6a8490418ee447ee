"""Makes the weights of quantised products signed, for processors that multiply unsigned by signed bytes at once.

Published `_quantized` files often hold unsigned weights. The instructions of x86 processors for such products (VNNI,
AMX) want one factor signed, and ONNX Runtime computes two unsigned ones by the slower path of older processors. Taking
128 from a weight and from its zero point changes neither their difference nor the result.
"""

from collections import Counter
from typing import Final

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper

_PRODUCTS: Final = frozenset({"MatMulInteger", "ConvInteger"})
_INSTRUCTIONS: Final = frozenset({"avx512_vnni", "avx_vnni"})


def gains_from_signs(processor: str) -> bool:
    """Whether a processor of these abilities has the instructions. Older ones lose bits with signed weights."""
    return not _INSTRUCTIONS.isdisjoint(processor.split())


def sign(model: ModelProto) -> int:
    """Changes unsigned weights and their zero points to signed ones; of how many products."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    uses = Counter(name for node in model.graph.node for name in node.input)
    factors = [
        (node.input[1], node.input[3])
        for node in model.graph.node
        if node.op_type in _PRODUCTS and len(node.input) == 4  # both factors and their zero points
    ]
    ours = Counter(name for pair in factors for name in pair)
    signed = [
        pair
        for pair in factors
        if all(
            name in constants and constants[name].data_type == TensorProto.UINT8 and uses[name] == ours[name]
            for name in pair
        )
    ]
    for name in {name for pair in signed for name in pair}:
        values = numpy_helper.to_array(constants[name]).astype(np.int16) - 128
        constants[name].CopyFrom(numpy_helper.from_array(values.astype(np.int8), name))
    return len(signed)
