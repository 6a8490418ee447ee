"""Telling the layouts apart, and reading what they say about their preprocessing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seesame.errors import ModelInvalid
from seesame.models.folder import find_model
from seesame.models.preprocessing import Preprocessing, from_open_clip, from_transformers

CLIP = {
    "do_resize": True,
    "size": 224,
    "do_center_crop": True,
    "crop_size": 224,
    "feature_extractor_type": "CLIPFeatureExtractor",
}


def _make(folder: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return folder


def _transformers_js(**more: Any) -> dict[str, Any]:
    files = {"onnx/vision_model.onnx": "", "preprocessor_config.json": CLIP, "config.json": {"model_type": "clip"}}
    return files | more


def test_a_transformers_js_folder_is_found(tmp_path: Path) -> None:
    """Graphs, tokenizer, length and padding token come from their files."""
    files = _transformers_js()
    files |= {"onnx/text_model.onnx": "", "tokenizer.json": {}}
    files |= {"tokenizer_config.json": {"model_max_length": 77, "pad_token": {"content": "<|endoftext|>"}}}
    model = find_model(_make(tmp_path, files))
    assert (model.layout, model.visual) == ("transformers.js", tmp_path / "onnx" / "vision_model.onnx")
    assert model.textual is not None
    assert model.textual.model == tmp_path / "onnx" / "text_model.onnx"
    assert (model.textual.context_length, model.textual.pad_token, model.textual.pad_always) == (
        77,
        "<|endoftext|>",
        False,
    )
    assert model.textual.cleaning == "none"


def test_an_immich_folder_is_found(tmp_path: Path) -> None:
    """The other layout, with the length from its config and open_clip's cleaning."""
    files = {
        "visual/model.onnx": "",
        "visual/preprocess_cfg.json": {"size": [224, 224]},
        "textual/model.onnx": "",
        "textual/tokenizer.json": {},
        "textual/tokenizer_config.json": {"pad_token": "<pad>", "model_max_length": 10**30},
        "config.json": {"text_cfg": {"context_length": 64, "tokenizer_kwargs": {"clean": "canonicalize"}}},
    }
    model = find_model(_make(tmp_path, files))
    assert (model.layout, model.visual) == ("immich", tmp_path / "visual" / "model.onnx")
    assert model.textual is not None
    assert (model.textual.context_length, model.textual.pad_token, model.textual.pad_always) == (64, "<pad>", True)
    assert model.textual.cleaning == "canonicalize"


@pytest.mark.parametrize("layout", ["transformers.js", "immich"])
def test_a_folder_without_a_text_tower_is_a_model(tmp_path: Path, layout: str) -> None:
    """Pictures alone are enough."""
    files = (
        _transformers_js()
        if layout == "transformers.js"
        else {"visual/model.onnx": "", "visual/preprocess_cfg.json": {}}
    )
    model = find_model(_make(tmp_path, files))
    assert (model.layout, model.textual) == (layout, None)


@pytest.mark.parametrize(
    ("kind", "length", "expected"),
    [("clip", 10**30, 77), ("siglip", 10**30, 64), ("siglip", 64, 64), ("clip", None, 77), ("clip", "many", 77)],
)
def test_an_absurd_length_is_not_believed(tmp_path: Path, kind: str, length: Any, expected: int) -> None:
    """Tokenizers say 10^30 when they know no limit; then the kind of model decides."""
    files = _transformers_js() | {"config.json": {"model_type": kind}, "onnx/text_model.onnx": "", "tokenizer.json": {}}
    textual = find_model(_make(tmp_path, files | {"tokenizer_config.json": {"model_max_length": length}})).textual
    assert textual is not None
    assert textual.context_length == expected
    assert textual.pad_always == (kind == "siglip")


def test_precisions_are_files(tmp_path: Path) -> None:
    """fp16 and int8 have files of their own; which one is missing is said with those that are there."""
    files = _transformers_js() | {"onnx/vision_model_fp16.onnx": "", "onnx/vision_model_int8.onnx": ""}
    folder = _make(tmp_path, files)
    assert find_model(folder, "fp16").visual.name == "vision_model_fp16.onnx"
    assert find_model(folder, "int8").visual.name == "vision_model_int8.onnx"
    (folder / "onnx" / "vision_model_quantized.onnx").touch()
    assert find_model(folder, "int8").visual.name == "vision_model_quantized.onnx"
    (folder / "onnx" / "vision_model_fp16.onnx").unlink()
    with pytest.raises(ModelInvalid, match="no fp16 files; it has fp32, int8"):
        find_model(folder, "fp16")


def test_immich_has_no_other_precision(tmp_path: Path) -> None:
    """The layout has no place for them, and the message says what there is."""
    folder = _make(tmp_path, {"visual/model.onnx": "", "visual/preprocess_cfg.json": {}})
    with pytest.raises(ModelInvalid, match="no int8 files; it has fp32"):
        find_model(folder, "int8")


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        ({"README.md": ""}, r"onnx/vision_model\.onnx"),
        ({"onnx/model.onnx": ""}, r"onnx/vision_model\.onnx is missing"),
        ({"onnx/vision_model.onnx": ""}, r"preprocessor_config\.json is missing"),
        ({"onnx/vision_model.onnx": "", "preprocessor_config.json": "{"}, r"preprocessor_config\.json is not JSON"),
        ({"onnx/vision_model.onnx": "", "preprocessor_config.json": []}, "not a JSON object"),
        (_transformers_js() | {"onnx/text_model.onnx": ""}, r"tokenizer\.json is missing"),
        ({"visual/preprocess_cfg.json": {}}, r"visual/model\.onnx is missing"),
        ({"visual/model.onnx": ""}, r"visual/preprocess_cfg\.json is missing"),
        (
            {"visual/model.onnx": "", "visual/preprocess_cfg.json": {}, "textual/model.onnx": ""},
            r"textual/tokenizer\.json is missing",
        ),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, files: dict[str, Any], missing: str) -> None:
    """Each incomplete folder is refused with the name of the file, and without the folder's path."""
    with pytest.raises(ModelInvalid, match=missing) as caught:
        find_model(_make(tmp_path, files))
    assert str(tmp_path) not in str(caught.value)


# Preprocessing


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (CLIP, Preprocessing()),
        ({}, Preprocessing()),
        (
            {"image_processor_type": "CLIPImageProcessorFast", "size": {"shortest_edge": 256}},
            Preprocessing(resize=(256, 256)),
        ),
        (
            {"size": {"height": 200, "width": 100}, "do_center_crop": False},
            Preprocessing(resize=(200, 100), mode="squash", crop=None),
        ),
        (
            {"image_processor_type": "SiglipImageProcessor", "resample": 3, "size": 256},
            Preprocessing(resize=(256, 256), mode="squash", crop=None, mean=(0.5,) * 3, std=(0.5,) * 3),
        ),
        (
            {"feature_extractor_type": "ViTFeatureExtractor", "size": 224},
            Preprocessing(
                mode="squash", crop=None, interpolation=Image.Resampling.BILINEAR, mean=(0.5,) * 3, std=(0.5,) * 3
            ),
        ),
        (
            {"do_resize": False, "do_rescale": False, "do_normalize": False},
            Preprocessing(resize=None, scale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3),
        ),
        (
            {"image_mean": 0.5, "image_std": [0.5, 0.5, 0.5], "rescale_factor": 1, "crop_size": [200, 100]},
            Preprocessing(mean=(0.5,) * 3, std=(0.5,) * 3, scale=1.0, crop=(200, 100)),
        ),
    ],
)
def test_every_form_of_the_transformers_file_is_read(config: dict[str, Any], expected: Preprocessing) -> None:
    """Old and new forms, and the defaults of each kind of processor for what is absent."""
    assert from_transformers(config) == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, Preprocessing(margins="even")),
        (
            {"size": [224], "interpolation": "bilinear", "fill_color": 255},
            Preprocessing(margins="even", interpolation=Image.Resampling.BILINEAR),
        ),
        (
            {"size": 384, "resize_mode": "squash"},
            Preprocessing(margins="even", resize=(384, 384), mode="squash", crop=None),
        ),
        (
            {"resize_mode": "longest", "fill_color": [1, 2, 3]},
            Preprocessing(margins="even", mode="longest", fill=(1, 2, 3)),
        ),
    ],
)
def test_every_form_of_the_open_clip_file_is_read(config: dict[str, Any], expected: Preprocessing) -> None:
    """Sizes as number or list, each resize mode, and a fill colour only where open_clip uses it."""
    assert from_open_clip(config) == expected


@pytest.mark.parametrize(
    "config",
    [
        {"image_processor_type": "Qwen2VLImageProcessor"},
        {"size": {"longest_edge": 224}},
        {"size": "224"},
        {"size": 0},
        {"size": -5},
        {"size": 10**9},
        {"size": True},
        {"size": [1, 2, 3]},
        {"crop_size": None},
        {"crop_size": {"height": 224}},
        {"resample": 9},
        {"resample": "magic"},
        {"image_mean": [0.5, 0.5]},
        {"image_mean": ["a", "b", "c"]},
        {"image_std": [0.5, 0.0, 0.5]},
        {"image_std": [0.5, float("nan"), 0.5]},
        {"rescale_factor": "1/255"},
        {"do_pad": True},
        {"do_center_crop": False},
        {"do_resize": False, "do_center_crop": False},
        {"image_processor_type": "ConvNextImageProcessor", "crop_pct": 0.875},
    ],
)
def test_values_that_cannot_be_followed_are_refused(config: dict[str, Any]) -> None:
    """A value that is unknown or impossible is an error when the model loads, not a silent guess."""
    with pytest.raises(ModelInvalid):
        from_transformers(config)


@pytest.mark.parametrize(
    "config",
    [
        {"mode": "L"},
        {"resize_mode": "stretch"},
        {"size": 0},
        {"interpolation": "random"},
        {"mean": None},
        {"resize_mode": "longest", "fill_color": 300},
    ],
)
def test_open_clip_values_that_cannot_be_followed_are_refused(config: dict[str, Any]) -> None:
    """The same for the other file."""
    with pytest.raises(ModelInvalid):
        from_open_clip(config)


@pytest.mark.parametrize("size", [(1, 1), (1, 16_384), (16_384, 1), (3, 5000), (224, 224), (225, 224)])
@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
def test_every_shape_of_picture_gives_a_tensor(size: tuple[int, int], mode: Any) -> None:
    """Slender and tiny pictures too, without computing what the crop throws away."""
    preprocessing = Preprocessing(mode=mode, crop=None if mode == "squash" else (224, 224))
    tensor = preprocessing.apply(Image.new("RGB", size, (255, 255, 255)))
    assert tensor.shape == (3, 224, 224)
    assert tensor.dtype == "float32"


def test_a_slender_picture_is_cropped_where_a_full_resize_would_crop_it() -> None:
    """Computing only the crop gives what computing everything gives, but for rounding."""
    gradient = Image.linear_gradient("L").resize((40, 400)).convert("RGB")
    preprocessing = Preprocessing(resize=(40, 40), crop=(40, 40))
    part = np.asarray(preprocessing.fit(gradient), dtype=int)
    whole = np.asarray(gradient.crop((0, 180, 40, 220)), dtype=int)
    assert np.abs(part - whole).max() <= 1


def test_the_shortest_side_is_what_decoding_must_keep() -> None:
    """The larger side of the resize; none where the picture's own pixels are cropped."""
    assert Preprocessing().shortest_side == 224
    assert Preprocessing(resize=(30, 40), mode="squash", crop=None).shortest_side == 40
    assert Preprocessing(resize=None).shortest_side is None


def test_the_key_changes_with_every_value() -> None:
    """Whatever moves a tensor moves the space's identity."""
    variants = [
        Preprocessing(),
        Preprocessing(resize=(256, 256)),
        Preprocessing(mode="longest"),
        Preprocessing(crop=(200, 200)),
        Preprocessing(margins="even"),
        Preprocessing(interpolation=Image.Resampling.BILINEAR),
        Preprocessing(scale=1.0),
        Preprocessing(mean=(0.5,) * 3),
        Preprocessing(std=(0.5,) * 3),
        Preprocessing(fill=(1, 1, 1)),
    ]
    assert len({variant.key for variant in variants}) == len(variants)
