"""What lies in a model folder: the two public layouts, told apart by their files.

*transformers.js*, as in Xenova/clip-vit-base-patch32:
`onnx/vision_model.onnx`, `onnx/text_model.onnx`, `preprocessor_config.json`, `tokenizer.json`, `config.json`, and
beside the models their variants, `_fp16` and `_quantized`.

*Immich*, as in immich-app/ViT-B-32__laion2b-s34b-b79k: `visual/model.onnx`, `visual/preprocess_cfg.json`,
`textual/model.onnx`, `textual/tokenizer.json`, `config.json`. It has no variants (its fp16 files are not ONNX).

In both, the text tower may be missing: such a model answers pictures only.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from seesame.errors import ModelInvalid
from seesame.models.preprocessing import Preprocessing, from_open_clip, from_transformers

Precision = Literal["fp32", "fp16", "int8"]
Layout = Literal["transformers.js", "immich"]
Cleaning = Literal["none", "whitespace", "canonicalize"]

SUFFIXES: Final[dict[Precision, tuple[str, ...]]] = {
    "fp32": ("",),
    "fp16": ("_fp16",),
    "int8": ("_quantized", "_int8"),
}
"""How the transformers.js layout names a precision's files, best first."""

_DEFAULT_CONTEXT: Final = 77
_MAX_CONTEXT: Final = 4096
"""Some files give an absurd length to say that they know none."""


@dataclass(frozen=True, slots=True)
class TextFiles:
    """The text tower: its graph, its tokenizer and how texts are prepared for it.

    `context_length` is in tokens, start and end included. `pad_always` says that every text is filled up to it;
    otherwise texts are filled up to the longest of them.
    """

    model: Path
    tokenizer: Path
    context_length: int
    pad_token: str | None
    pad_always: bool
    cleaning: Cleaning


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The files of one model in one precision, and what its own configuration says."""

    layout: Layout
    precision: Precision
    visual: Path
    textual: TextFiles | None
    preprocessing: Preprocessing


def find_model(folder: Path, precision: Precision = "fp32") -> ModelFiles:
    """The model in `folder`. Raises ModelInvalid, naming the file, when something is missing or unreadable."""
    if (folder / "visual").is_dir():
        return _immich(folder, precision)
    if (folder / "onnx").is_dir():
        return _transformers_js(folder, precision)
    raise ModelInvalid("A model folder must have onnx/vision_model.onnx or visual/model.onnx.")


def _transformers_js(folder: Path, precision: Precision) -> ModelFiles:
    visual = _variant(folder / "onnx", "vision_model", precision)
    if visual is None:
        raise ModelInvalid(_missing_variant(folder / "onnx", precision))
    return ModelFiles(
        layout="transformers.js",
        precision=precision,
        visual=visual,
        textual=_transformers_js_text(folder, precision),
        preprocessing=from_transformers(_read_json(folder, "preprocessor_config.json")),
    )


def _transformers_js_text(folder: Path, precision: Precision) -> TextFiles | None:
    model = _variant(folder / "onnx", "text_model", precision)
    if model is None:
        return None
    config = _read_json(folder, "config.json", required=False)
    text = _section(config, "text_config")
    tokenizer = _read_json(folder, "tokenizer_config.json", required=False)
    kind = str(config.get("model_type", ""))
    length = _length(tokenizer.get("model_max_length")) or _length(text.get("max_position_embeddings"))
    return TextFiles(
        model=model,
        tokenizer=_file(folder, "tokenizer.json"),
        context_length=length or (64 if kind.startswith("siglip") else _DEFAULT_CONTEXT),
        pad_token=_token(tokenizer.get("pad_token")),
        # A CLIP text tower reads forward only, so that nothing after the end token changes the result, and short
        # texts are computed faster unpadded. SigLIP takes the last of a fixed number of places.
        pad_always=not kind.startswith("clip"),
        cleaning="none",
    )


def _immich(folder: Path, precision: Precision) -> ModelFiles:
    visual = _file(folder, "visual/model.onnx")
    if precision != "fp32":
        raise ModelInvalid(f"This model has no {precision} files; it has fp32.")
    return ModelFiles(
        layout="immich",
        precision=precision,
        visual=visual,
        textual=_immich_text(folder),
        preprocessing=from_open_clip(_read_json(folder, "visual/preprocess_cfg.json")),
    )


def _immich_text(folder: Path) -> TextFiles | None:
    model = folder / "textual" / "model.onnx"
    if not model.is_file():
        return None
    text = _section(_read_json(folder, "config.json", required=False), "text_cfg")
    tokenizer = _read_json(folder, "textual/tokenizer_config.json", required=False)
    length = _length(text.get("context_length")) or _length(tokenizer.get("model_max_length"))
    return TextFiles(
        model=model,
        tokenizer=_file(folder, "textual/tokenizer.json"),
        context_length=length or _DEFAULT_CONTEXT,
        pad_token=_token(tokenizer.get("pad_token")),
        pad_always=True,
        cleaning="canonicalize" if _section(text, "tokenizer_kwargs").get("clean") == "canonicalize" else "whitespace",
    )


def _variant(folder: Path, stem: str, precision: Precision) -> Path | None:
    paths = (folder / f"{stem}{suffix}.onnx" for suffix in SUFFIXES[precision])
    return next((path for path in paths if path.is_file()), None)


def _missing_variant(folder: Path, precision: Precision) -> str:
    have = [name for name in SUFFIXES if _variant(folder, "vision_model", name)]
    if have:
        return f"This model has no {precision} files; it has {', '.join(have)}."
    return f"onnx/vision_model{SUFFIXES[precision][0]}.onnx is missing."


def _file(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise ModelInvalid(f"{name} is missing.")
    return folder / name


def _read_json(folder: Path, name: str, *, required: bool = True) -> dict[str, Any]:
    if not required and not (folder / name).is_file():
        return {}
    try:
        value = json.loads(_file(folder, name).read_text(encoding="utf-8"))
    except ValueError as error:  # not JSON, or not UTF-8
        raise ModelInvalid(f"{name} is not JSON.") from error
    if not isinstance(value, dict):
        raise ModelInvalid(f"{name} is not a JSON object.")
    return value


def _section(config: dict[str, Any], name: str) -> dict[str, Any]:
    value = config.get(name)
    return value if isinstance(value, dict) else {}


def _length(value: object) -> int | None:
    return value if isinstance(value, int) and 2 <= value <= _MAX_CONTEXT else None


def _token(value: object) -> str | None:
    """A token is written as text, or as an object with its `content`."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None
