"""Keeps an eye on the CLIP service: whether it is ready, and which model it has."""

import logging
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from seesame.embedding.remote import ClipService, RemoteEmbedder
from seesame.errors import DatabaseError, StorageFull
from seesame.spaces import Spaces
from seesame.types import SpaceIdentity

_log = logging.getLogger(__name__)

_LOOK_S = 0.5

Status = Literal["unknown", "available", "starting", "unavailable"]


@dataclass(frozen=True, slots=True)
class ClipState:
    """How the service is, and since when."""

    status: Status
    since: datetime


class ClipWatch:
    """Asks the service twice a second, so that no search has to find out that it is gone, or that it is back."""

    def __init__(self, service: ClipService, spaces: Spaces) -> None:
        self._service = service
        self._spaces = spaces
        self._identity: SpaceIdentity | None = None
        self.state = ClipState("unknown", datetime.now(UTC))

    def embedder(self) -> RemoteEmbedder | None:
        """An embedder of the model that the service has ready now; the spaces do not hear of it."""
        state = self._service.check()
        if state is None or not state.ready or state.identity is None:
            return None
        return RemoteEmbedder(self._service, state.identity, has_text=state.has_text)

    def run_forever(self, stop: threading.Event) -> None:
        """Looks twice a second until `stop`; a database that is away is waited for."""
        while not stop.is_set():
            try:
                self.look()
            except (DatabaseError, StorageFull) as error:
                _log.warning("The CLIP service's space has to wait: %s", error)
            stop.wait(_LOOK_S)

    def look(self) -> None:
        """Asks the service once; a model that it has and the spaces do not know yet is added to them."""
        state = self._service.check()
        if state is None or not state.ready:
            busy_with = state.status if state is not None else ""
            self._spaces.waiting("clip_downloading" if busy_with == "downloading" else "clip_unavailable")
            self._become("starting" if busy_with in ("starting", "downloading") else "unavailable")
            return
        if state.identity is not None and state.identity != self._identity:
            embedder = RemoteEmbedder(self._service, state.identity, has_text=state.has_text)
            if self._identity is not None:
                _log.warning("The CLIP service has another model now: %s", state.identity.key)
                self._spaces.remove(self._identity.key)
            self._spaces.add(embedder)
            self._identity = state.identity
        self._become("available")

    def _become(self, status: Status) -> None:
        if status == self.state.status:
            return
        gone = status != "available" and self.state.status in ("unknown", "available")
        self.state = ClipState(status, datetime.now(UTC))
        if status == "available":
            _log.info("✅ Python CLIP service is available")
        elif gone:
            _log.warning("⚠️ Python CLIP service is not available, using the fallback model")
