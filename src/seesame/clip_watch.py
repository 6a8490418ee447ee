"""Keeps an eye on the CLIP services: whether they are ready, and which model each has."""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from seesame.embedding.remote import ClipService, RemoteEmbedder
from seesame.errors import DatabaseError, SpaceConflict, StorageFull
from seesame.spaces import Spaces
from seesame.types import Space

_log = logging.getLogger(__name__)

_LOOK_S = 0.5

Status = Literal["unknown", "available", "starting", "unavailable"]


@dataclass(frozen=True, slots=True)
class ClipState:
    """How the service is, and since when."""

    status: Status
    since: datetime


class ClipLink:
    """Asks one service twice a second, so that no search has to find out that it is gone, or that it is back."""

    def __init__(self, service: ClipService, spaces: Spaces, *, automatic: bool, name: str | None) -> None:
        """`automatic`: the space of its model may take over by itself. `name` tells services apart in the log."""
        self._service = service
        self._spaces = spaces
        self._automatic = automatic
        self._name = name
        self.embedder: RemoteEmbedder | None = None
        self.state = ClipState("unknown", datetime.now(UTC))

    def ready_embedder(self) -> RemoteEmbedder | None:
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
            if self._automatic:
                self._spaces.waiting("clip_downloading" if busy_with == "downloading" else "clip_unavailable")
            self._become("starting" if busy_with in ("starting", "downloading") else "unavailable")
            return
        before = self.embedder
        if state.identity is not None and (before is None or state.identity != before.identity):
            embedder = RemoteEmbedder(self._service, state.identity, has_text=state.has_text)
            if before is not None:
                _log.warning("The CLIP service has another model now: %s", state.identity.key)
                self._spaces.remove(before.identity.key)
            try:
                self._spaces.add(embedder, automatic=self._automatic)
            except SpaceConflict as error:
                _log.warning("⚠️ The model of the CLIP service is not used: %s", error)
                self._spaces.hold(embedder)  # until someone brings the space back
            self.embedder = embedder
        self._become("available")

    def _become(self, status: Status) -> None:
        if status == self.state.status:
            return
        gone = status != "available" and self.state.status in ("unknown", "available")
        self.state = ClipState(status, datetime.now(UTC))
        which = "" if self._name is None else f": {self._name}"
        if status == "available":
            _log.info("✅ Python CLIP service is available%s", which)
        elif gone:
            _log.warning("⚠️ Python CLIP service is not available%s", which or ", using the fallback model")


class ClipWatch:
    """Keeps an eye on each of the CLIP services, of which every one has a model of its own."""

    def __init__(self, services: Mapping[str, ClipService], spaces: Spaces) -> None:
        """Services by their URL. The model of the first is what the shop is configured for."""
        self._spaces = spaces
        self.links = [
            ClipLink(service, spaces, automatic=number == 0, name=_place(url) if len(services) > 1 else None)
            for number, (url, service) in enumerate(services.items())
        ]

    @property
    def state(self) -> ClipState:
        """How the services are: that of the first that is not available, if one is not."""
        states = [link.state for link in self.links]
        return next((state for state in states if state.status != "available"), states[0])

    def look(self) -> bool:
        """Asks each service once; whether any is available."""
        for link in self.links:
            link.look()
        return any(link.state.status == "available" for link in self.links)

    def embedder(self, model: str) -> RemoteEmbedder | None:
        """An embedder of a model that a service has ready now; the spaces do not hear of it."""
        ready = (link.ready_embedder() for link in self.links)
        return next((embedder for embedder in ready if embedder is not None and embedder.identity.model == model), None)

    def add(self, model: str) -> Space | None:
        """Registers the space of a model by hand, if a service has it; None if none does."""
        for link in self.links:
            if link.embedder is not None and link.embedder.identity.model == model:
                return self._spaces.add(link.embedder, automatic=False, revive=True)
        return None


def _place(url: str) -> str:
    """The URL as the log may have it: without a user and a password."""
    return url.rpartition("@")[2]
