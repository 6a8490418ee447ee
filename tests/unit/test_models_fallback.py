"""EfficientNet-Lite0: conversion, the restricted reader, and what the network sees."""

import csv
import io
import pickle
import struct
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from seesame import images
from seesame.embedding.local import LocalEmbedder
from seesame.errors import ModelInvalid
from seesame.models import FallbackModel
from seesame.models import fallback as module
from seesame.models.checkpoint import read_checkpoint
from seesame.models.fallback import convert, ensure_fallback
from tests.requirements import environment

GOLDENS = Path(__file__).parents[1] / "goldens"
IMAGENET = {
    "Shoes": {502, 514, 630, 770, 774, 788},  # clog, cowboy boot, Loafer, running shoe, sandal, shoe shop
    "T-Shirt": {610},  # jersey, T-shirt
    "Shorts": {842},  # swimming trunks
    "Pants": {608},  # jean
    "Dress": {578, 601, 689},  # gown, hoopskirt, overskirt
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache for this module, so that the network is converted once."""
    return tmp_path_factory.mktemp("fallback")


@pytest.fixture(scope="module")
def model(cache: Path) -> FallbackModel:
    """The real network."""
    return FallbackModel.load(cache)


@dataclass(frozen=True)
class Photos:
    """Labelled photos, preprocessed."""

    labels: NDArray[Any]
    senders: NDArray[Any]
    data: list[bytes]
    tensors: NDArray[np.float32]


@pytest.fixture(scope="module")
def photos(model: FallbackModel) -> Photos:
    """The photos of SEESAME_TEST_PHOTOS."""
    folder = Path(environment("SEESAME_TEST_PHOTOS", "photos"))
    with (folder / "photos.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    data = [(folder / row["file"]).read_bytes() for row in rows]
    side = model.preprocessing.shortest_side
    tensors = np.stack([model.preprocessing.apply(images.decode(item, shortest_side=side)) for item in data])
    return Photos(np.array([row["label"] for row in rows]), np.array([row["sender"] for row in rows]), data, tensors)


# Conversion


def test_conversion_is_stable_to_the_byte(cache: Path, tmp_path: Path) -> None:
    """Two conversions of the installed weights give the same file."""
    assert ensure_fallback(cache).read_bytes() == ensure_fallback(tmp_path).read_bytes()


def test_conversion_leaves_nothing_but_the_model(tmp_path: Path) -> None:
    """No temporary file stays, and the name tells converter and weights apart."""
    path = ensure_fallback(tmp_path / "new" / "cache")
    assert list(path.parent.iterdir()) == [path]
    assert path.name == f"efficientnet-lite0-v{module.CONVERTER_VERSION}-57934424.onnx"


def test_an_existing_file_is_not_written_again(cache: Path) -> None:
    """The second call finds the first one's file."""
    before = ensure_fallback(cache).stat().st_mtime_ns
    assert ensure_fallback(cache).stat().st_mtime_ns == before


def test_a_cached_file_that_went_bad_is_made_anew(tmp_path: Path) -> None:
    """A damaged cache costs a conversion, not the service."""
    path = ensure_fallback(tmp_path)
    path.write_bytes(b"not a model")
    assert FallbackModel.load(tmp_path).identity.dimensions == 1280
    assert path.stat().st_size > 10_000_000


def test_a_failed_write_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk gives up, the partial file goes too, and the next attempt starts afresh."""

    def fail(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("seesame.files.os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        ensure_fallback(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_other_installed_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are used only with the digest they are known by."""
    monkeypatch.setattr(module, "CHECKPOINT_SHA256", "0" * 64)
    with pytest.raises(ModelInvalid, match="not the expected ones"):
        ensure_fallback(tmp_path)


def test_weights_of_another_network_are_refused() -> None:
    """A checkpoint without the expected tensors is no EfficientNet-Lite0."""
    with pytest.raises(ModelInvalid, match="EfficientNet-Lite0"):
        convert({"weight": np.zeros(3, np.float32)})


# The restricted reader


class _Evil:
    """Pickles into a call that would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def _checkpoint(dictionary: bytes, *storages: tuple[str, bytes]) -> bytes:
    header = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True}]
    parts = [pickle.dumps(item, protocol=2) for item in header]
    parts += [dictionary, pickle.dumps([key for key, _ in storages], protocol=2)]
    parts += [struct.pack("<q", len(data) // 4) + data for _, data in storages]
    return b"".join(parts)


def _dictionary(shape: tuple[int, ...], strides: tuple[int, ...], *, offset: int = 0, count: int = 6) -> bytes:
    """The pickle of {"weight": tensor}, put together from opcodes, since its names must not be importable here."""

    def tuple_(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"

    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("7") + text("cpu")
    storage += tuple_((count,))[1:-1] + b"Nt"
    arguments = b"(" + storage + b"Q" + tuple_((offset,))[1:-1] + tuple_(shape) + tuple_(strides) + b"\x89" + b"}t"
    return b"\x80\x02}" + text("weight") + b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"Rs."


SIX = np.arange(6, dtype="<f4")


def test_a_checkpoint_is_read() -> None:
    """Shape, order and values arrive, also where the strides are not those of a plain array."""
    plain = read_checkpoint(_checkpoint(_dictionary((2, 3), (3, 1)), ("7", SIX.tobytes())))
    np.testing.assert_array_equal(plain["weight"], SIX.reshape(2, 3))
    turned = read_checkpoint(_checkpoint(_dictionary((3, 2), (1, 3)), ("7", SIX.tobytes())))
    np.testing.assert_array_equal(turned["weight"], SIX.reshape(2, 3).T)


@pytest.mark.parametrize(
    "dictionary",
    [
        _dictionary((2, 4), (4, 1)),
        _dictionary((2, 3), (3, 1), offset=1),
        _dictionary((2, 3), (-3, 1), offset=3),
        _dictionary((2, 3), (3,)),
        _dictionary((2, 3), (3, 1), offset=-1),
        _dictionary((1 << 30, 1 << 30), (0, 1)),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(dictionary: bytes) -> None:
    """No shape, stride or offset reads memory that is not the storage's."""
    with pytest.raises(ModelInvalid):
        read_checkpoint(_checkpoint(dictionary, ("7", SIX.tobytes())))


def test_a_malicious_pickle_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    """A pickle that calls anything but the tensor constructors ends the reading; the call does not happen."""
    victim = tmp_path / "touched"
    for place in (pickle.dumps(OrderedDict(weight=_Evil(victim)), protocol=2), pickle.dumps(_Evil(victim))):
        with pytest.raises(ModelInvalid):
            read_checkpoint(_checkpoint(place))
        with pytest.raises(ModelInvalid):
            read_checkpoint(place)
    assert not victim.exists()
    pickle.loads(pickle.dumps(_Evil(victim)))
    assert victim.exists(), "the example does what it should be kept from"


@pytest.mark.parametrize(
    "name", ["builtins\neval", "os\nsystem", "torch._utils\n_rebuild_tensor", "collections\nCounter"]
)
def test_every_other_name_is_refused(name: str) -> None:
    """The list of allowed names is closed, also for names that look harmless."""
    with pytest.raises(ModelInvalid):
        read_checkpoint(_checkpoint(b"\x80\x02c" + name.encode() + b"\n."))


def test_a_cut_off_checkpoint_is_refused() -> None:
    """At whatever byte the file ends, the answer is ModelInvalid."""
    whole = _checkpoint(_dictionary((2, 3), (3, 1)), ("7", SIX.tobytes()))
    for length in range(len(whole)):
        with pytest.raises(ModelInvalid):
            read_checkpoint(whole[:length])


def test_something_other_than_tensors_is_refused() -> None:
    """A dictionary of plain values is no checkpoint, nor is a pickle of another format."""
    for data in (_checkpoint(pickle.dumps({"a": 1}, protocol=2)), b"PK\x03\x04", b"", pickle.dumps([1], protocol=2)):
        with pytest.raises(ModelInvalid):
            read_checkpoint(data)


# The network


def test_features_are_the_references(model: FallbackModel) -> None:
    """Cosine at least 0.9999 with the PyTorch reference, for each golden picture; and the same first class."""
    with np.load(GOLDENS / "fallback.npz") as golden:
        pictures = [images.decode((GOLDENS / "pictures" / f"{name}.png").read_bytes()) for name in golden["names"]]
        # The golden tensors were resized as CLIP's are; here it is the network that is compared.
        preprocessing = replace(model.preprocessing, interpolation=Image.Resampling.BICUBIC)
        tensors = np.stack([preprocessing.apply(picture) for picture in pictures])
        want = golden["features"] / np.linalg.norm(golden["features"], axis=1, keepdims=True)
        assert (model.images(tensors) * want).sum(axis=1).min() >= 0.9999
        np.testing.assert_array_equal(model.logits(tensors).argmax(axis=1), golden["logits"].argmax(axis=1))


def test_identity_and_kind(model: FallbackModel, cache: Path) -> None:
    """The space has its name, 1280 dimensions and the same digest at each load; there are no words."""
    assert (model.identity.model, model.identity.dimensions) == ("efficientnet-lite0", 1280)
    assert FallbackModel.load(cache, threads=1).identity == model.identity
    assert not model.has_text
    with pytest.raises(ModelInvalid):
        model.texts(["a red shoe"])


def test_rows_do_not_depend_on_the_batch(model: FallbackModel) -> None:
    """A picture has the same vector alone and among others, and an empty batch gives no rows."""
    tensors = np.random.default_rng(0).standard_normal((5, 3, 224, 224), dtype=np.float32)
    alone = np.concatenate([model.images(tensors[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(model.images(tensors), alone, atol=1e-5)
    assert model.images(tensors[:0]).shape == (0, 1280)


@pytest.mark.parametrize("size", [(3024, 4032), (4032, 3024)])
def test_a_large_jpeg_decoded_at_a_reduced_scale_gives_nearly_the_same(
    model: FallbackModel, size: tuple[int, int]
) -> None:
    """On a 12-megapixel JPEG, decoding small keeps the vector within a cosine of 0.995."""
    picture = images.decode((GOLDENS / "pictures" / "portrait.png").read_bytes())
    _assert_reduced_decoding_is_harmless(model, picture, size)


def test_it_sees_what_is_in_the_photos(model: FallbackModel, photos: Photos) -> None:
    """Among the first five ImageNet classes is a fitting one, for most photos and at least twice as often as else."""
    tensors, labels = photos.tensors[::2], photos.labels[::2]  # as many as it takes, since each takes time
    logits = np.concatenate([model.logits(tensors[i : i + 16]) for i in range(0, len(tensors), 16)])
    first = np.argsort(-logits, axis=1)[:, :5]
    for label, classes in IMAGENET.items():
        fits = np.array([bool(classes & set(row)) for row in first.tolist()])
        right, wrong = fits[labels == label].mean(), fits[labels != label].mean()
        assert right >= 0.6, label
        assert right >= 2 * wrong, label


def test_the_nearest_photo_is_of_the_same_kind(model: FallbackModel, photos: Photos) -> None:
    """P@1 and P@10 over all other photos, and P@1 over other senders' photos, reach the known values."""
    embedder = LocalEmbedder(model)
    vectors = np.stack([vector for vector in embedder.embed_images(photos.data) if isinstance(vector, np.ndarray)])
    embedder.close()
    similar = vectors @ vectors.T
    np.fill_diagonal(similar, -2)
    nearest = np.argsort(-similar, axis=1)
    same = np.array([photos.labels[row[:10]] == label for row, label in zip(nearest, photos.labels, strict=True)])
    assert same[:, 0].mean() >= 0.72
    assert same.mean() >= 0.59
    similar[photos.senders[:, None] == photos.senders[None, :]] = -2
    assert (photos.labels[similar.argmax(axis=1)] == photos.labels).mean() >= 0.58


def test_reduced_decoding_hardly_moves_real_photos(model: FallbackModel, photos: Photos) -> None:
    """Photos enlarged to 12 megapixels, decoded fully and at a reduced scale: cosine at least 0.995."""
    for data in photos.data[:8]:
        picture = images.decode(data)
        factor = (12e6 / (picture.width * picture.height)) ** 0.5
        # No whole number of a decoder's blocks: the worst case for a reduced scale.
        size = round(picture.width * factor) // 16 * 16 + 1, round(picture.height * factor) // 16 * 16 + 1
        _assert_reduced_decoding_is_harmless(model, picture, size)


def _assert_reduced_decoding_is_harmless(model: FallbackModel, picture: Image.Image, size: tuple[int, int]) -> None:
    buffer = io.BytesIO()
    picture.resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=90)
    side = model.preprocessing.shortest_side
    full, small = images.decode(buffer.getvalue()), images.decode(buffer.getvalue(), shortest_side=side)
    assert full.size == size
    assert small.width < full.width / 2
    vectors = model.images(np.stack([model.preprocessing.apply(image) for image in (full, small)]))
    assert vectors[0] @ vectors[1] >= 0.995
