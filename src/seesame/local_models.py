"""Keeps the models loaded that this process computes with: those of the live spaces, and the one of its settings."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from seesame.embedding.batcher import OnStage
from seesame.embedding.local import LocalEmbedder
from seesame.errors import (
    DatabaseError,
    ModelError,
    ModelInvalid,
    ModelNotFound,
    ModelUnavailable,
    SpaceConflict,
    StorageFull,
)
from seesame.images import Decoder, ImageLimits
from seesame.models import hub
from seesame.models.clip import ClipModel
from seesame.models.folder import Precision
from seesame.spaces import Spaces
from seesame.types import Origin, Role, Space

_log = logging.getLogger(__name__)

_LOOK_S = 1.0
_LEAVE_S = 30.0  # longer than any search takes
_MAX_WANTED = 8  # each of them may be a download of gigabytes
_RETRY_S = (60, 300, 1800)  # between attempts to download a model; the last repeats


@dataclass(slots=True)
class _Wanted:
    """A model that is on its way here."""

    by_hand: bool
    attempts: int = 0
    next_try_at: float = 0.0
    error: str | None = None


class LocalModels:
    """The models of one process. Safe to use from several threads."""

    def __init__(
        self,
        spaces: Spaces,
        *,
        model: str,
        precision: Precision,
        cache_dir: Path,
        limits: ImageLimits,
        decoder: Decoder,
        on_stage: OnStage = lambda stage, seconds: None,  # noqa: ARG005 - nobody measures
    ) -> None:
        """`model` is the one of the settings."""
        self._spaces = spaces
        self._model = model
        self._precision = precision
        self._cache_dir = cache_dir
        self._limits = limits
        self._decoder = decoder
        self._on_stage = on_stage
        self._loading = threading.Lock()  # held while a model is loaded, so that none is loaded twice
        self._held: dict[Origin, LocalEmbedder] = {}
        self._leaving: deque[tuple[float, LocalEmbedder]] = deque()  # searches in flight may still ask them
        self._unusable: set[str] = set()
        self._wanted: dict[str, _Wanted] = {model: _Wanted(by_hand=False)}

    def look(self, roles: tuple[Role, ...] = ("primary", "candidate")) -> None:
        """Loads the models of the spaces of these roles that are in the cache, the primary's first; drops others."""
        with self._loading:
            spaces = self._spaces.all()
            self._drop_retired(spaces)
            held = {embedder.identity.key for embedder in self._held.values()}
            for space in sorted(spaces, key=lambda space: space.role != "primary"):
                if space.role in roles and space.key not in held | self._unusable:
                    self._hold(space)

    def load(self, model: str, *, by_hand: bool = False) -> Space | None:
        """Registers a model that is in the cache; its space, or None if it is not there.

        `by_hand` brings a retired space back, and gives none the right to take over by itself.

        Raises:
            ModelNotFound: the name is no model.
            ModelInvalid: the files are not a usable model.
            SpaceConflict: its space was retired.
        """
        if not by_hand:
            self.look(("primary",))  # first, so that it answers while the other is loaded
        with self._loading:
            folder = hub.locate(model, cache_dir=self._cache_dir, precision=self._precision)
            if folder is None:
                return None
            origin = Origin(hub.lasting_name(model), self._precision)
            embedder = self._held.get(origin) or self._loaded(folder, hub.space_name(model), origin.precision)
            space = self._registered(embedder, origin, automatic=not by_hand, revive=by_hand)
        if not by_hand and space.role == "candidate" and not space.automatic:
            _log.info("SEESAME_MODEL names %s. To let it answer: seesame spaces activate %s", model, space.key)
        return space

    def open(self, model: str) -> LocalEmbedder | None:
        """An embedder of a model that is in the cache, for the caller to close; the spaces do not hear of it."""
        folder = hub.locate(model, cache_dir=self._cache_dir, precision=self._precision)
        return None if folder is None else self._loaded(folder, hub.space_name(model), self._precision)

    def ask(self, model: str) -> None:
        """Lets `fetch_forever` bring a model and register its space by hand.

        Raises:
            SpaceConflict: too many are on their way.
        """
        known = self._wanted.get(model)  # the one of the settings keeps its right to take over by itself
        if known is None and len(self._wanted) >= _MAX_WANTED:
            failed = [name for name, wanted in self._wanted.items() if wanted.next_try_at == math.inf]
            if not failed:
                raise SpaceConflict(f"{len(self._wanted)} models are on their way. Ask again when one of them is here.")
            self._wanted.pop(failed[0], None)
        self._wanted[model] = _Wanted(by_hand=known is None or known.by_hand)

    def arriving(self) -> dict[str, str | None]:
        """The models that are not here yet, with what went wrong with them."""
        return {model: wanted.error for model, wanted in self._wanted.copy().items()}

    def look_forever(self, stop: threading.Event) -> None:
        """Follows the registry until `stop`, so that spaces that other processes add are filled and answer here."""
        while not stop.is_set():
            try:
                self.look()
            except (DatabaseError, StorageFull) as error:
                _log.debug("The spaces cannot be looked up: %s", error)  # whoever needs them says it louder
            stop.wait(_LOOK_S)

    def fetch_forever(self, stop: threading.Event) -> None:
        """Brings the model of the settings and those that are asked for, until `stop`; searches go on meanwhile."""
        while not stop.is_set():
            for model, wanted in self._wanted.copy().items():
                if time.monotonic() >= wanted.next_try_at:
                    self._fetch(model, wanted)
            stop.wait(_LOOK_S)

    def _fetch(self, model: str, wanted: _Wanted) -> None:
        try:
            if hub.locate(model, cache_dir=self._cache_dir, precision=self._precision) is None:
                self._download(model)
            self.load(model, by_hand=wanted.by_hand)
        except (ModelNotFound, ModelInvalid, SpaceConflict) as error:
            _log.error("⚠️ %s is not used: %s", model, error)
            wanted.error, wanted.next_try_at = str(error), math.inf
        except (ModelUnavailable, DatabaseError, StorageFull) as error:
            wait_s = _RETRY_S[min(wanted.attempts, len(_RETRY_S) - 1)]
            _log.warning("⚠️ %s Next try in %d s.", error, wait_s)
            wanted.error, wanted.next_try_at = str(error), time.monotonic() + wait_s
            wanted.attempts += 1
        else:
            self._wanted.pop(model, None)

    def _download(self, model: str) -> None:
        _log.info("%s is not here yet and is downloaded", model)
        self._spaces.waiting("clip_downloading")
        try:
            hub.pull(model, cache_dir=self._cache_dir, precision=self._precision, progress=_log_download(model))
        finally:
            self._spaces.waiting("clip_unavailable")

    def _drop_retired(self, spaces: list[Space]) -> None:
        live = {space.key for space in spaces if space.role in ("primary", "candidate")}
        for origin, embedder in list(self._held.items()):
            if embedder.identity.key not in live:
                self._spaces.remove(embedder.identity.key)
                del self._held[origin]
                self._leaving.append((time.monotonic() + _LEAVE_S, embedder))
        while self._leaving and self._leaving[0][0] <= time.monotonic():
            self._leaving.popleft()[1].close()

    def _hold(self, space: Space) -> None:
        origin = Origin(space.source or space.model, space.precision or self._precision)
        try:
            folder = hub.locate(origin.source, cache_dir=self._cache_dir, precision=_precision(origin.precision))
            if folder is None:
                return  # it may come into the cache any moment
            embedder = self._loaded(folder, space.model, origin.precision)
            if embedder.identity.key != space.key:
                embedder.close()
                raise ModelInvalid("Its files are other ones than those that its vectors were made with.")
            self._registered(embedder, origin, automatic=False, revive=False)
        except ModelError as error:
            _log.warning("⚠️ The model of %s is not here: %s", space.key, error)
            self._unusable.add(space.key)
        except SpaceConflict:
            _log.debug("%s was retired while its model was loaded", space.key)

    def _registered(self, embedder: LocalEmbedder, origin: Origin, *, automatic: bool, revive: bool) -> Space:
        try:
            space = self._spaces.add(embedder, origin=origin, automatic=automatic, revive=revive)
        except BaseException:
            if origin not in self._held:
                embedder.close()
            raise
        self._held[origin] = embedder
        return space

    def _loaded(self, folder: Path, name: str, precision: str) -> LocalEmbedder:
        model = ClipModel.load(folder, name=name, precision=_precision(precision), cache_dir=self._cache_dir)
        identity = model.identity
        _log.info("✅ CLIP feature extraction successful: %d dimensions (%s)", identity.dimensions, identity.key)
        return LocalEmbedder(model, limits=self._limits, decoder=self._decoder, on_stage=self._on_stage)


def _precision(text: str) -> Precision:
    match text:
        case "fp32" | "fp16" | "int8":
            return text
        case _:
            raise ModelInvalid(f"No model has {text} files.")


def _log_download(name: str) -> Callable[[int, int], None]:
    """Logs every tenth of a download."""
    logged = 0

    def progress(done: int, total: int) -> None:
        nonlocal logged
        tenth = 10 * done // total if total else 0
        if tenth > logged:
            logged = tenth
            _log.info("Downloading %s: %d of %d MB", name, done // 1_000_000, total // 1_000_000)

    return progress
