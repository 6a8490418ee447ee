"""Calibrates spaces by the catalogue's own pictures: how similar photos are to their product, and to the next best."""

import logging
import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seesame.calibration import RIVAL, Calibration, Scale, fit
from seesame.camera import KINDS
from seesame.db import spaces as rows
from seesame.db.pool import Database
from seesame.errors import SeesameError, SpaceConflict
from seesame.spaces import Spaces
from seesame.trials import OnTried, Trials
from seesame.types import Embedder, Space

_log = logging.getLogger(__name__)

_PHOTOS = 300
_LEAST = 20
_SEED = 17  # not that of an evaluation, whose photos are to be others
_TIMEOUT_S = 60.0
_LOOK_S = 20.0
_MUCH = 1.5  # times as many pictures as when it was measured, or as few: then it is measured anew


@dataclass(frozen=True, slots=True)
class Measured:
    """A calibration, and by it the scores of the photos' own products and of the most similar other ones."""

    calibration: Calibration
    own: NDArray[np.float64]
    others: NDArray[np.float64]


class Calibrator:
    """Calibrates spaces. Safe to use from several threads; two at once find the same."""

    def __init__(self, database: Database, spaces: Spaces, trials: Trials) -> None:
        self._database = database
        self._spaces = spaces
        self._trials = trials
        self._tried: dict[str, int] = {}  # images of a space when it could not be calibrated

    def measure(
        self,
        space: Space,
        embedder: Embedder,
        on_tried: OnTried = lambda done, total: None,  # noqa: ARG005 - nobody looks
    ) -> Measured:
        """Measures a space; stores nothing.

        Raises:
            SpaceConflict: there are too few products, or its similarities tell nothing.
            EmbedderError: the embedder cannot be used now.
        """
        images = self._count(space)
        run = self._trials.run(space, embedder, KINDS[1:], count=_PHOTOS, seed=_SEED, in_turn=True, on_tried=on_tried)
        trials = [trial for trial in run if len(trial.others) >= RIVAL]
        if len(trials) < _LEAST:
            raise SpaceConflict(f"A calibration needs {_LEAST} products with a picture in {space.key}.")
        own = np.array([(trial.own, trial.with_product[RIVAL - 1]) for trial in trials])
        others = np.array([(trial.without_product[0], trial.without_product[RIVAL - 1]) for trial in trials])
        calibration = fit(own, others, images=images)
        if calibration is None:
            raise SpaceConflict(f"In {space.key} photos are no more like their own product than like others.")
        return Measured(calibration, _scores(calibration, own), _scores(calibration, others))

    def store(self, space: Space, calibration: Calibration) -> None:
        """Lets searches in the space tell a score by it, within a second or so."""
        with self._database.transaction() as connection:
            rows.store_calibration(connection, space, calibration)

    def run_due(self) -> None:
        """Calibrates each space that this process fills, if it is complete and was not, or has changed much since."""
        for space, embedder in self._spaces.live():
            if not self._is_due(space):
                continue
            try:
                self.store(space, self.measure(space, embedder).calibration)
            except SpaceConflict as error:
                self._tried[space.key] = self._count(space)
                _log.debug("%s", error)
            else:
                _log.info("✅ Calibrated %s: results have a score", space.key)

    def run_forever(self, stop: threading.Event) -> None:
        """Keeps the calibrations until `stop`; waits out faults of the database and of models."""
        while not stop.wait(_LOOK_S):
            try:
                self.run_due()
            except SeesameError as error:
                _log.debug("No space is calibrated now: %s", error)

    def _is_due(self, space: Space) -> bool:
        """Whether it is complete, and of another size than when it was calibrated, or could not be."""
        before = space.calibration.images if space.calibration else self._tried.get(space.key, 0)
        if _about(space.images, before):
            return False
        if _about(self._count(space), before):
            return False  # PostgreSQL has not looked of late
        with self._database.transaction(timeout_s=_TIMEOUT_S) as connection, rows.meanwhile_changed():
            return rows.is_complete(connection, space.space_id)

    def _count(self, space: Space) -> int:
        with self._database.transaction(timeout_s=_TIMEOUT_S) as connection, rows.meanwhile_changed():
            return rows.count_vectors(connection, space.space_id)


def _about(images: int, before: int) -> bool:
    return before / _MUCH <= images <= before * _MUCH


def _scores(calibration: Calibration, examples: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([Scale(calibration, rival).score(similarity) for similarity, rival in examples])
