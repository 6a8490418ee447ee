"""Writes a CLIP ViT-B/32 of full size with random weights, in the transformers.js layout.

Its vectors mean nothing; its speed and its memory are those of the published model, so that benchmarks run where
nothing can be downloaded:

    python bench/random_clip.py OUT_DIR [--text] [--int8] [--seed 0]

The picture tower is 350 MB; `--text` adds the text tower (250 MB) with a tokenizer that knows bytes only, and `--int8`
the `_quantized` file of each tower, a quarter of its size.
"""

import argparse
import json
import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8
CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]


@dataclass(frozen=True)
class Tower:
    """The size of a transformer."""

    width: int
    layers: int
    heads: int
    tokens: int


VISION = Tower(width=768, layers=12, heads=12, tokens=50)
TEXT = Tower(width=512, layers=12, heads=8, tokens=77)
PATCH, SIDE, DIMENSIONS, VOCABULARY = 32, 224, 512, 49408


@dataclass
class Graph:
    """Nodes and weights in the making, in the pattern that the exporter of PyTorch writes."""

    random: np.random.Generator
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        output = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, value: NDArray[Any]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, dtype=np.int64))

    def scalar(self, value: float) -> str:
        return self.constant(np.array(value, dtype=np.float32))

    def weight(self, *shape: int) -> str:
        scale = np.float32(1 / math.sqrt(shape[-2] if len(shape) > 1 else shape[0]))
        return self.constant(self.random.standard_normal(shape, dtype=np.float32) * scale)

    def linear(self, x: str, inputs: int, outputs: int) -> str:
        return self.add("Add", self.weight(outputs), self.add("MatMul", x, self.weight(inputs, outputs)))

    def norm(self, x: str, width: int) -> str:
        one, zero = self.constant(np.ones(width, np.float32)), self.constant(np.zeros(width, np.float32))
        return self.add("LayerNormalization", x, one, zero, axis=-1, epsilon=1e-5)

    def layer(self, x: str, tower: Tower, mask: str | None) -> str:
        x = self.add("Add", x, self.attention(self.norm(x, tower.width), tower, mask))
        y = self.linear(self.norm(x, tower.width), tower.width, 4 * tower.width)
        y = self.add("Mul", y, self.add("Sigmoid", self.add("Mul", y, self.scalar(1.702))))
        return self.add("Add", x, self.linear(y, 4 * tower.width, tower.width))

    def attention(self, x: str, tower: Tower, mask: str | None) -> str:
        size = tower.width // tower.heads
        split = self.integers(0, tower.tokens, tower.heads, size)
        query, key, value = (self.add("Reshape", self.linear(x, tower.width, tower.width), split) for _ in range(3))
        query = self.add("Mul", self.add("Transpose", query, perm=[0, 2, 1, 3]), self.scalar(size**-0.5))
        scores = self.add("MatMul", query, self.add("Transpose", key, perm=[0, 2, 3, 1]))
        if mask is not None:
            scores = self.add("Add", scores, mask)
        mixed = self.add(
            "MatMul", self.add("Softmax", scores, axis=-1), self.add("Transpose", value, perm=[0, 2, 1, 3])
        )
        joined = self.add(
            "Reshape",
            self.add("Transpose", mixed, perm=[0, 2, 1, 3]),
            self.integers(0, tower.tokens, tower.width),
        )
        return self.linear(joined, tower.width, tower.width)

    def model(self, inputs: list[Any], output: str, name: str) -> bytes:
        self.nodes.append(helper.make_node("Identity", [output], [name]))
        result = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch_size", DIMENSIONS])
        graph = helper.make_graph(self.nodes, "random_clip", inputs, [result], self.constants)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=opsets, producer_name="seesame")
        data: bytes = model.SerializeToString(deterministic=True)
        return data


def vision(seed: int) -> bytes:
    """The picture tower: `pixel_values` (n, 3, 224, 224) to `image_embeds` (n, 512)."""
    graph = Graph(np.random.default_rng(seed))
    kernel = graph.random.standard_normal((VISION.width, 3, PATCH, PATCH), dtype=np.float32) * np.float32(0.02)
    x = graph.add("Conv", "pixel_values", graph.constant(kernel), kernel_shape=[PATCH, PATCH], strides=[PATCH, PATCH])
    x = graph.add("Reshape", x, graph.integers(0, VISION.width, VISION.tokens - 1))
    x = graph.add("Transpose", x, perm=[0, 2, 1])
    batch = graph.add("Shape", "pixel_values", start=0, end=1)
    shape = graph.add("Concat", batch, graph.integers(1, VISION.width), axis=0)
    first = graph.add("Expand", graph.weight(VISION.width), shape)
    x = graph.add("Add", graph.add("Concat", first, x, axis=1), graph.weight(VISION.tokens, VISION.width))
    x = graph.norm(x, VISION.width)
    for _ in range(VISION.layers):
        x = graph.layer(x, VISION, None)
    pooled = graph.norm(graph.add("Gather", x, graph.constant(np.array(0)), axis=1), VISION.width)
    output = graph.add("MatMul", pooled, graph.weight(VISION.width, DIMENSIONS))
    pixels = helper.make_tensor_value_info(
        "pixel_values", TensorProto.FLOAT, ["batch_size", "num_channels", "height", "width"]
    )
    return graph.model([pixels], output, "image_embeds")


def text(seed: int) -> bytes:
    """The text tower: `input_ids` (n, 77) to `text_embeds` (n, 512)."""
    graph = Graph(np.random.default_rng(seed + 1))
    table = graph.random.standard_normal((VOCABULARY, TEXT.width), dtype=np.float32) * np.float32(0.02)
    x = graph.add("Gather", graph.constant(table), "input_ids")
    x = graph.add("Add", x, graph.weight(TEXT.tokens, TEXT.width))
    mask = np.triu(np.full((1, 1, TEXT.tokens, TEXT.tokens), -1e9, dtype=np.float32), k=1)
    mask_name = graph.constant(mask)
    for _ in range(TEXT.layers):
        x = graph.layer(x, TEXT, mask_name)
    x = graph.norm(x, TEXT.width)
    end = graph.add("ArgMax", "input_ids", axis=1, keepdims=1)
    # The one row of each text that stands at its end token, picked by a comparison: (n, 77, 1) of zeros and a one.
    places = graph.constant(np.arange(TEXT.tokens, dtype=np.int64))
    chosen = graph.add("Cast", graph.add("Equal", end, places), to=TensorProto.FLOAT)
    chosen = graph.add("Unsqueeze", chosen, graph.integers(1))
    pooled = graph.add("Squeeze", graph.add("MatMul", chosen, x), graph.integers(1))
    output = graph.add("MatMul", pooled, graph.weight(TEXT.width, DIMENSIONS))
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch_size", TEXT.tokens])
    return graph.model([ids], output, "text_embeds")


def byte_tokenizer() -> dict[str, Any]:
    """A CLIP tokenizer without merges: each byte of a text is a token of its own."""
    from tokenizers import pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    entries = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {entry: index for index, entry in enumerate(entries)}
    start, end = "<|startoftext|>", "<|endoftext|>"
    vocabulary |= {start: VOCABULARY - 2, end: VOCABULARY - 1}
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": VOCABULARY - 2, "content": start, **special},
            {"id": VOCABULARY - 1, "content": end, **special},
        ],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "NFC"},
                {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
                {"type": "Lowercase"},
            ],
        },
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": {
            "type": "RobertaProcessing",
            "sep": [end, VOCABULARY - 1],
            "cls": [start, VOCABULARY - 2],
            "trim_offsets": False,
            "add_prefix_space": False,
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "unk_token": end,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "</w>",
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": vocabulary,
            "merges": [],
        },
    }


def write(folder: Path, *, seed: int = 0, with_text: bool = False, with_int8: bool = False) -> None:
    """Writes the model folder."""
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    (folder / "onnx" / "vision_model.onnx").write_bytes(vision(seed))
    preprocessing = {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": SIDE},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": SIDE, "width": SIDE},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": CLIP_MEAN,
        "image_std": CLIP_STD,
    }
    _write_json(folder / "preprocessor_config.json", preprocessing)
    _write_json(folder / "config.json", {"model_type": "clip", "projection_dim": DIMENSIONS})
    if with_text:
        (folder / "onnx" / "text_model.onnx").write_bytes(text(seed))
        _write_json(folder / "tokenizer.json", byte_tokenizer())
        pad = {"pad_token": "<|endoftext|>", "model_max_length": TEXT.tokens}
        _write_json(folder / "tokenizer_config.json", pad)
    if with_int8:
        for tower in ("vision_model", "text_model") if with_text else ("vision_model",):
            _quantize(folder / "onnx" / f"{tower}.onnx", folder / "onnx" / f"{tower}_quantized.onnx")


def _quantize(source: Path, target: Path) -> None:
    """Weights as unsigned bytes, activations quantised as they come: so the published `_quantized` files are made."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(
        logging.WARNING
    )  # it advises to simplify the graph first, which the published files' makers did not
    try:
        quantize_dynamic(source, target, weight_type=QuantType.QUInt8)
    finally:
        logging.disable(logging.NOTSET)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Write a CLIP ViT-B/32 with random weights.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--text", action="store_true", help="write the text tower too")
    parser.add_argument("--int8", action="store_true", help="write the quantised files too")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    write(options.folder, seed=options.seed, with_text=options.text, with_int8=options.int8)


if __name__ == "__main__":
    main()
