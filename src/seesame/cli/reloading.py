"""What a process takes up of its settings while it runs, on SIGHUP."""

import logging
from collections.abc import Callable, Collection
from typing import Generic, TypeVar

from seesame.errors import SettingsError
from seesame.logs import configure_logging
from seesame.settings import ClipSettings, Settings

_log = logging.getLogger(__name__)

S = TypeVar("S", bound=Settings | ClipSettings)


class Reload(Generic[S]):
    """Reads the settings anew, takes up those that it can and names those that need a restart.

    The environment of a process never changes, so what changes is the `.env` file. One that is wrong changes nothing.
    """

    def __init__(
        self,
        settings: S,
        read: Callable[[], S],
        *,
        taken_up: Collection[str] = (),
        take_up: Callable[[S], None] = lambda settings: None,  # noqa: ARG005 - nothing but how it logs
    ) -> None:
        """`take_up` takes up the fields `taken_up`; the two of logging always are."""
        self._settings: Settings | ClipSettings = settings
        self._read = read
        self._taken_up = {"log_level", "log_format", *taken_up}
        self._take_up = take_up

    def __call__(self) -> None:
        """Does it once."""
        try:
            settings = self._read()
        except (SettingsError, OSError, UnicodeError) as error:
            _log.error("The settings stay as they were: %s", error)
            return
        variables = settings.variables()
        changed = {name for name in variables if getattr(settings, name) != getattr(self._settings, name)}
        configure_logging(settings.log_level, settings.log_format)
        self._take_up(settings)
        now = {name: getattr(settings, name) for name in changed & self._taken_up}
        self._settings = self._settings.model_copy(update=now)
        told = ", ".join(sorted(variables[name] for name in now)) or "nothing that can be"
        _log.info("The settings were read again; taken up: %s", told)
        if waiting := sorted(variables[name] for name in changed - self._taken_up):
            _log.warning("Changed, but taken up only by a restart: %s", ", ".join(waiting))
