"""The embedder that computes in this process."""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np

from seesame import images
from seesame.embedding.batcher import Batcher, OnStage
from seesame.errors import EmbedderBusy, ImageError, ModelInvalid
from seesame.images import Decoder, ImageLimits
from seesame.models.image_model import ImageModel
from seesame.types import Embedded, SpaceIdentity, Vector, Vectors


class LocalEmbedder:
    """Hands pictures and texts to a batcher and waits. Safe to call from several threads; close it when done."""

    available = True
    bulk_size = 1  # a process that is killed loses more; calls at once are batched all the same

    def __init__(
        self,
        model: ImageModel,
        *,
        limits: ImageLimits | None = None,
        decoder: Decoder = images,
        workers: int | None = None,
        on_stage: OnStage = lambda stage, seconds: None,  # noqa: ARG005 - nobody measures
    ) -> None:
        """`workers` is the number of threads, by default one for each core and never less than two.

        Pictures in bulk are those that Seesame has made itself: they are decoded here, whatever `decoder` is.
        """
        self._model = model
        self._batcher = Batcher(
            model, limits=limits, decoder=decoder, bulk_decoder=images, workers=workers, on_stage=on_stage
        )

    @property
    def identity(self) -> SpaceIdentity:
        """The space that the vectors belong to."""
        return self._model.identity

    @property
    def has_text(self) -> bool:
        """Whether the model has a text tower."""
        return self._model.has_text

    def embed_images(self, pictures: Sequence[bytes], *, bulk: bool = False) -> list[Embedded]:
        """One unit vector, or the reason why there is none, for each picture, in order.

        Raises EmbedderBusy when too much waits already, and DecoderUnavailable.
        """
        results: list[Embedded] = []
        running: deque[Future[Vector]] = deque()
        try:
            for picture in pictures:
                while not (accepted := self._submit(picture, bulk=bulk, alone=not running)):
                    results.append(_outcome(running.popleft()))
                running += accepted
            while running:
                results.append(_outcome(running.popleft()))
        finally:
            for future in running:  # only after an error: nobody wants these any more
                future.cancel()
        return results

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, shape (n, dimensions), one row a text. Raises ModelInvalid where `has_text` is False."""
        return np.stack([future.result() for future in self._batcher.submit(texts)])

    def _submit(self, picture: bytes, *, bulk: bool, alone: bool) -> list[Future[Vector]]:
        """The picture's future; none while the queue is full, where waiting for the call's own pictures helps."""
        try:
            return self._batcher.submit([picture], bulk=bulk)
        except EmbedderBusy:
            if alone:
                raise
            return []

    def close(self) -> None:
        """Finishes what was accepted, then ends the threads. A later call raises EmbedderUnavailable."""
        self._batcher.close()


def _outcome(future: Future[Vector]) -> Embedded:
    try:
        return future.result()
    except (ImageError, ModelInvalid) as error:
        return error
