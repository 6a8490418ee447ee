"""Other ways to tell how much each cell of a picture stands out, to compare `seesame.regions` with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

from seesame.models.fallback import ensure_fallback
from seesame.models.session import session_options
from seesame.regions import SIDE, Contrasts, lab

_FINE, _DEEP = "_blocks.4.sum", "_blocks.10.sum"  # 28 by 28 and 14 by 14 cells
_BLUR = 4  # cells

Map = Callable[[Image.Image], Contrasts]


def other_ways(cache_dir: Path) -> dict[str, Map]:
    """By name; `cache_dir` is for the fallback."""
    network = _Network(cache_dir)
    return {
        "minimum barrier to the edge": lambda image: _scaled(_barrier(image)),
        "spectral residual": lambda image: _scaled(_spectral_residual(image)),
        "the fallback's features that are rare at the edge": lambda image: _scaled(network.rare(image)),
        "normalised cut of the fallback's features (TokenCut)": lambda image: _scaled(network.cut(image)),
    }


def _scaled(values: NDArray[Any]) -> Contrasts:
    """From 0 to 0.6, as far as contrasts of colours go; at the size of theirs."""
    image = Image.fromarray(values.astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    cells = np.asarray(image, dtype=np.float64)
    low, high = np.percentile(cells, (2, 98))
    result: Contrasts = ((cells - low) / max(high - low, 1e-6)).clip(0, 1) * 0.6
    return result


def _small(image: Image.Image) -> NDArray[np.float32]:
    return lab(image.resize((SIDE, SIDE), Image.Resampling.BOX))


def _spectral_residual(image: Image.Image) -> NDArray[Any]:
    """Hou and Zhang, "Saliency Detection: A Spectral Residual Approach", 2007; summed over the channels, blurred."""
    total = np.zeros((SIDE, SIDE))
    for channel in np.moveaxis(_small(image), -1, 0):
        spectrum = np.fft.fft2(channel)
        log = np.log(abs(spectrum) + 1e-6)
        mean = sum(np.roll(log, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)) / 9
        total += abs(np.fft.ifft2(np.exp(log - mean + 1j * np.angle(spectrum)))) ** 2
    kernel = np.exp(-2 * (np.pi * _BLUR * np.fft.fftfreq(SIDE)) ** 2)  # a Gauss curve's
    return np.fft.ifft2(np.fft.fft2(total) * np.outer(kernel, kernel)).real


def _barrier(image: Image.Image) -> NDArray[Any]:
    """How much a colour must change on the way to the edge.

    Zhang and others, "Minimum Barrier Salient Object Detection at 80 FPS", 2015.
    """
    total = np.zeros((SIDE, SIDE))
    for channel in np.moveaxis(_small(image), -1, 0):
        inside = np.pad(np.full((SIDE - 2, SIDE - 2), np.inf, dtype=np.float32), 1)
        highest, lowest = channel + inside, channel - inside  # of the best way that is known
        changed = True
        while changed:
            changed = False
            for turn in range(4):
                colour, high, low = (np.rot90(cells, turn) for cells in (channel, highest, lowest))
                new_high, new_low = np.maximum(high[:-1], colour[1:]), np.minimum(low[:-1], colour[1:])
                better = new_high - new_low < high[1:] - low[1:] - 1e-3
                np.copyto(high[1:], new_high, where=better)
                np.copyto(low[1:], new_low, where=better)
                changed |= bool(better.any())
        total += highest - lowest
    return total


class _Network:
    """Features of the fallback's middle layers, of a picture that is mirrored beyond its edge."""

    def __init__(self, cache_dir: Path) -> None:
        model = onnx.load(ensure_fallback(cache_dir))
        for axis, name in ((2, "height"), (3, "width")):
            model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
        model.graph.output.extend(onnx.helper.make_tensor_value_info(name, 1, None) for name in (_FINE, _DEEP))
        self._session = ort.InferenceSession(model.SerializeToString(), session_options(threads=1))

    def rare(self, image: Image.Image) -> NDArray[Any]:
        """How far each cell's features are from the nearest of the edge's."""
        cells = self._cells(image, _FINE)
        edge = np.concatenate([cells[0], cells[-1], cells[1:-1, 0], cells[1:-1, -1]])
        nearest = np.sort((cells @ edge.T).clip(-1, 1), axis=2)[:, :, -len(edge) // 8 :].mean(axis=2)
        result: NDArray[Any] = np.sqrt(2 - 2 * nearest)
        return result

    def cut(self, image: Image.Image) -> NDArray[Any]:
        """Wang and others, https://arxiv.org/abs/2202.11539: the second eigenvector; high is the middle."""
        cells = self._cells(image, _DEEP)
        flat = cells.reshape(-1, cells.shape[2])
        affinity = np.where(flat @ flat.T > 0.2, 1, 1e-5)
        degree = affinity.sum(axis=1)
        _, vectors = np.linalg.eigh(np.eye(len(flat)) - affinity / np.sqrt(degree[:, None] * degree))
        values: NDArray[Any] = (vectors[:, 1] / np.sqrt(degree)).reshape(cells.shape[:2])
        return values if values[1:-1, 1:-1].mean() > values.mean() else -values

    def _cells(self, image: Image.Image, layer: str) -> NDArray[Any]:
        """Centred and of unit length, shape (height, width, channels)."""
        pixels = np.asarray(image.resize((224, 224), Image.Resampling.HAMMING), dtype=np.float32)
        pixels = np.pad((pixels - 127) / 128, ((32, 32), (32, 32), (0, 0)), mode="reflect")
        (output,) = self._session.run([layer], {"image": np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])})
        margin = output.shape[2] // 9
        cells = np.moveaxis(output[0, :, margin:-margin, margin:-margin], 0, -1)
        cells -= cells.mean(axis=(0, 1))
        result: NDArray[Any] = cells / np.linalg.norm(cells, axis=2, keepdims=True).clip(1e-6)
        return result
