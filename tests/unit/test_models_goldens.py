"""Vectors and tensors equal to those of the reference implementations (see tools/make_goldens.py)."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from seesame import images
from seesame.models import ClipModel
from seesame.models.folder import find_model
from seesame.models.preprocessing import from_open_clip, from_transformers
from seesame.models.tokens import TextTokenizer

GOLDENS = Path(__file__).parents[1] / "goldens"
LAYOUTS = ["transformers_js", "siglip", "immich"]


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    """Each of the tiny models in turn."""
    return str(request.param)


def _picture(name: str) -> Image.Image:
    return images.decode((GOLDENS / "pictures" / f"{name}.png").read_bytes())


def _vectors(layout: str) -> dict[str, NDArray[Any]]:
    with np.load(GOLDENS / layout / "vectors.npz") as file:
        return dict(file)


def _cosines(have: NDArray[Any], want: NDArray[Any]) -> NDArray[Any]:
    product: NDArray[Any] = (have * want).sum(axis=1)
    return product


def test_pictures_give_the_references_vectors(layout: str) -> None:
    """Portrait, landscape, square, tiny and transparent pictures: cosine at least 0.9999 with the reference."""
    model, golden = ClipModel.load(GOLDENS / layout, name=layout), _vectors(layout)
    tensors = np.stack([model.preprocessing.apply(_picture(name)) for name in golden["names"]])
    assert _cosines(model.images(tensors), golden["image_vectors"]).min() >= 0.9999


def test_texts_give_the_references_vectors(layout: str) -> None:
    """Short, long, empty, emoji, entities and other scripts: cosine at least 0.9999 with the reference."""
    model, golden = ClipModel.load(GOLDENS / layout, name=layout), _vectors(layout)
    texts = [str(text) for text in golden["texts"]]
    assert _cosines(model.texts(texts), golden["text_vectors"]).min() >= 0.9999


def test_a_text_has_the_same_vector_alone_and_among_others(layout: str) -> None:
    """How far a text is filled up by the longest beside it does not move its vector."""
    model, golden = ClipModel.load(GOLDENS / layout, name=layout), _vectors(layout)
    texts = [str(text) for text in golden["texts"]]
    alone = np.concatenate([model.texts([text]) for text in texts])
    assert _cosines(alone, model.texts(texts)).min() >= 0.99999


@pytest.mark.parametrize("layout", ["transformers_js", "siglip"])
def test_token_ids_are_the_references(layout: str) -> None:
    """Every id, filled up to the full length, is the one that transformers computes."""
    golden, files = _vectors(layout), find_model(GOLDENS / layout).textual
    assert files is not None
    tokenizer = TextTokenizer(files, fixed_length=golden["ids"].shape[1])
    ids, _ = tokenizer.encode([str(text) for text in golden["texts"]])
    np.testing.assert_array_equal(ids, golden["ids"])


def test_token_ids_are_open_clips_up_to_the_end_token() -> None:
    """open_clip fills up with zeros and the files say the end token; up to the first of them all ids agree."""
    golden, files = _vectors("immich"), find_model(GOLDENS / "immich").textual
    assert files is not None
    ids, mask = TextTokenizer(files, fixed_length=None).encode([str(text) for text in golden["texts"]])
    np.testing.assert_array_equal(ids * mask, golden["ids"])
    end = ids.max()
    assert ids.shape == (len(golden["texts"]), 77)
    assert (ids[-1, -1], ids[-1, 0]) == (end, end - 1)


@pytest.mark.parametrize(("precision", "least"), [("fp16", 0.9999), ("int8", 0.99)])
def test_other_precisions_come_close(precision: Any, least: float) -> None:
    """fp16, whose graph takes and gives half floats, and int8 stay near the reference; each is a space of its own."""
    golden = _vectors("transformers_js")
    folder = GOLDENS / "transformers_js"
    model = ClipModel.load(folder, name="tiny", precision=precision)
    tensors = np.stack([model.preprocessing.apply(_picture(name)) for name in golden["names"]])
    vectors = model.images(tensors)
    assert vectors.dtype == np.float32
    assert _cosines(vectors, golden["image_vectors"]).min() >= least
    assert model.identity.digest != ClipModel.load(folder, name="tiny").identity.digest


@pytest.mark.parametrize("number", range(14))
def test_tensors_are_the_references(number: int) -> None:
    """Each configuration, of either reader, on each picture: the same to the rounding of float32."""
    with np.load(GOLDENS / "preprocessing.npz") as file:
        reader, config = str(file[f"{number}/reader"]), json.loads(str(file[f"{number}/config"]))
        preprocessing = (from_transformers if reader == "transformers" else from_open_clip)(config)
        for name in ("portrait", "landscape", "square", "small", "alpha"):
            np.testing.assert_allclose(
                preprocessing.apply(_picture(name)), file[f"{number}/{name}"], rtol=1e-5, atol=1e-5, err_msg=name
            )


def test_there_is_no_other_golden_configuration() -> None:
    """The range above covers the whole file."""
    with np.load(GOLDENS / "preprocessing.npz") as file:
        assert {int(key.partition("/")[0]) for key in file.files} == set(range(14))


def test_the_goldens_would_notice_a_wrong_filter() -> None:
    """With another filter, or the crop a few pixels off, the vectors fall below what the tests demand."""
    model, golden = ClipModel.load(GOLDENS / "immich", name="immich"), _vectors("immich")
    right = model.preprocessing
    for wrong in (
        dataclasses.replace(right, interpolation=Image.Resampling.NEAREST),
        dataclasses.replace(right, resize=(right.size[0] + 2, right.size[1] + 2)),
        dataclasses.replace(right, mode="squash", crop=None),
    ):
        tensors = np.stack([wrong.apply(_picture(name)) for name in golden["names"]])
        assert _cosines(model.images(tensors), golden["image_vectors"]).min() < 0.999
