"""Measures what the similarities of a space mean, by the catalogue's own pictures.

Alike are two pictures of one product; where the products have one each, a picture and what a camera would make of it.
Different are pictures of different products. Each is drawn by lot, so that the cost does not grow with the catalogue.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seesame.calibration import Calibration, Source, fit
from seesame.camera import KINDS, photograph
from seesame.db import calibration as rows
from seesame.db import spaces as space_rows
from seesame.db.calibration import Drawn, Others
from seesame.db.pool import Database
from seesame.errors import DatabaseError, EmbedderError, ImageError, NotFound, SpaceConflict, StorageFull
from seesame.pictures import PictureStore
from seesame.spaces import Spaces
from seesame.types import Embedder, Space

_log = logging.getLogger(__name__)

_PICTURES = 1_000  # that are compared with one another
_LEAST = 20  # of different products
_PAIRS = 100  # pictures of one product that are enough
_COPIES = 200  # pictures as a camera shows them
_BATCH = 8
_SEED = 17  # not that of an evaluation, whose pictures are to be others
_TIMEOUT_S = 60.0
_LOOK_S = 20.0
_MUCH = 1.5  # times as many pictures as when it was measured, or as few: then it is measured anew

OnProgress = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class Measured:
    """A calibration, and the similarities that it was made from."""

    calibration: Calibration
    alike: NDArray[np.float32]
    different: NDArray[np.float32]


class Calibrator:
    """Calibrates spaces. Safe to use from several threads; two at once find the same."""

    def __init__(self, database: Database, pictures: PictureStore, spaces: Spaces) -> None:
        self._database = database
        self._pictures = pictures
        self._spaces = spaces

    def measure(
        self,
        space: Space,
        embedder: Embedder | None,
        on_progress: OnProgress = lambda done, total: None,  # noqa: ARG005 - nobody looks
    ) -> Measured:
        """Measures a space; stores nothing. Without its embedder, products with one picture tell less.

        Raises:
            SpaceConflict: too few have their vector there.
            EmbedderError: the embedder cannot be used now.
        """
        with self._database.transaction(timeout_s=_TIMEOUT_S) as connection, space_rows.meanwhile_changed():
            drawn = rows.draw(connection, space, _PICTURES, seed=_SEED)
            alike = _of_one_product(drawn, rows.others(connection, space, drawn))
            images = space_rows.count_vectors(connection, space.space_id)
        if len(set(drawn.product_ids)) < _LEAST:
            raise SpaceConflict(f"A calibration needs {_LEAST} products with a picture in {space.key}.")
        source: Source = "pictures"
        if len(alike) < _PAIRS and embedder is not None:
            source, alike = "camera", self._copies(drawn, embedder, on_progress)
        if len(alike) < _LEAST:
            source, alike = "negatives", alike[:0]
        different = _of_different(drawn)
        return Measured(fit(alike, different, source=source, images=images), alike, different)

    def store(self, space: Space, calibration: Calibration) -> None:
        """Lets searches in the space tell a score by it, within a second or so."""
        with self._database.transaction() as connection:
            rows.store(connection, space, calibration)

    def run_due(self) -> None:
        """Calibrates each space that this process fills, if it is complete and was not, or has changed much since."""
        for space, embedder in self._spaces.live():
            if self._is_due(space):
                try:
                    self.store(space, self.measure(space, embedder).calibration)
                except SpaceConflict as error:
                    _log.debug("%s", error)
                else:
                    _log.info("✅ Calibrated %s: results have a score", space.key)

    def run_forever(self, stop: threading.Event) -> None:
        """Keeps the calibrations until `stop`; waits out faults of the database and of models."""
        while not stop.wait(_LOOK_S):
            try:
                self.run_due()
            except (DatabaseError, StorageFull, EmbedderError) as error:
                _log.debug("No space is calibrated now: %s", error)

    def _is_due(self, space: Space) -> bool:
        before = space.calibration
        if before is not None and _about(space.images, before.images):
            return False
        with self._database.transaction(timeout_s=_TIMEOUT_S) as connection, space_rows.meanwhile_changed():
            if before is not None and _about(space_rows.count_vectors(connection, space.space_id), before.images):
                return False  # PostgreSQL has not looked of late
            return space_rows.is_complete(connection, space.space_id)

    def _copies(self, drawn: Drawn, embedder: Embedder, on_progress: OnProgress) -> NDArray[np.float32]:
        """How like some pictures are to what a camera makes of them, each kind of damage in turn."""
        chosen = range(min(_COPIES, len(drawn.image_ids)))
        alike: list[float] = []
        for begin in chosen[::_BATCH]:
            photos = {place: photo for place in chosen[begin : begin + _BATCH] if (photo := self._photo(drawn, place))}
            for place, vector in zip(photos, embedder.embed_images(list(photos.values()), bulk=True), strict=True):
                if isinstance(vector, np.ndarray):
                    alike.append(float(drawn.vectors[place] @ vector))
            on_progress(min(begin + _BATCH, len(chosen)), len(chosen))
        return np.array(alike, np.float32)

    def _photo(self, drawn: Drawn, place: int) -> bytes | None:
        kind = KINDS[1 + place % (len(KINDS) - 1)]
        try:
            return photograph(self._pictures.read(drawn.bytes_refs[place]), kind, seed=place)
        except (NotFound, ImageError, OSError):
            return None


def _of_one_product(drawn: Drawn, others: Others) -> NDArray[np.float32]:
    """Of a drawn picture and another one of the same product that is not the same file."""
    place_of = {product_id: place for place, product_id in enumerate(drawn.product_ids)}
    places = np.array([place_of[product_id] for product_id in others.product_ids], dtype=int)
    differ = [drawn.sha256[place] != digest for place, digest in zip(places, others.sha256, strict=True)]
    similarities: NDArray[np.float32] = np.einsum("ij,ij->i", drawn.vectors[places], others.vectors)[differ]
    return similarities


def _of_different(drawn: Drawn) -> NDArray[np.float32]:
    """Of each two pictures of different products that are not the same file."""
    _, product = np.unique(np.array(drawn.product_ids), return_inverse=True)
    _, picture = np.unique(np.array([digest.hex() for digest in drawn.sha256]), return_inverse=True)
    left, right = np.triu_indices(len(product), 1)
    differ = (product[left] != product[right]) & (picture[left] != picture[right])
    similarities: NDArray[np.float32] = (drawn.vectors @ drawn.vectors.T)[left[differ], right[differ]]
    return similarities


def _about(images: int, before: int) -> bool:
    return before / _MUCH <= images <= before * _MUCH
