"""Every error that Seesame raises on purpose.

SeesameError
├── ImageError              a picture that cannot be used: the picture's fault
│   ├── UnsupportedFormat   its content is of no format on the allow-list
│   ├── ImageTooLarge       bytes, pixels or a side over the limit
│   └── ImageUndecodable    of an allowed format, but broken
├── FetchError              a URL that cannot be used
│   ├── UrlNotAllowed       refused before any connection; says nothing about why
│   └── FetchFailed         the remote side failed: status, time, size, redirects
│       └── HostFailed      its host did: no connection, or no answer in time
├── ModelError
│   ├── ModelNotFound       no such model: neither a curated name, a repository nor a folder
│   ├── ModelUnavailable    not in the cache and cannot be downloaded now; may work later
│   └── ModelInvalid        its files are there but are not a usable model
├── EmbedderError           no vector now; neither the picture nor the model is at fault
│   ├── EmbedderUnavailable the CLIP service is down, or what it says makes no sense
│   │   ├── EmbedderTimeout it did not answer in time
│   │   └── DecoderUnavailable  no process was free in time to decode the picture
│   └── EmbedderBusy        its queue is full; `retry_after_s` says when to come again
├── SettingsError           an environment variable holds something else than it should
├── InvalidInput            a field of a request or a record is wrong; `field` names it
│   └── PathNotAllowed      a picture named by a path where only URLs may be
├── UnsupportedFile         a file to import that is neither CSV nor JSON Lines
├── NotFound                a product, an image, a space or a job that does not exist
├── DeletionRefused         a sync would delete more than it may
├── JobsFull                too many imports wait
├── JobEnded                a job was cancelled, or another process has it now
├── SpaceConflict           a change of the model that is not possible as things are
│   └── SpaceIncomplete     images lack their vector in the space that is to answer; `missing` says how many
├── DatabaseError
│   ├── DatabaseUnavailable cannot be reached now; may work later
│   │   ├── SpaceChanged    a table of vectors became another one, or went, between two statements
│   │   └── TableInUse      another transaction holds the table
│   └── DatabaseUnsuitable  reached, but too old or lacking a right
└── StorageFull             no room for a picture or for the embedded database

`code` is stable and goes to clients; `str(error)` is a sentence or two written for people, never another library's
exception text. What can reach a client holds no path and no address; what only the command line raises may.
"""

from typing import ClassVar


class SeesameError(Exception):
    """Base of all errors raised on purpose."""

    code: ClassVar[str] = "error"


class ImageError(SeesameError):
    """A picture that cannot be used."""

    code = "image_error"


class UnsupportedFormat(ImageError):
    """The content is of no format on the allow-list."""

    code = "unsupported_format"


class ImageTooLarge(ImageError):
    """Bytes, pixels or a side over the limit."""

    code = "image_too_large"


class ImageUndecodable(ImageError):
    """Of an allowed format, but broken."""

    code = "image_undecodable"


class FetchError(SeesameError):
    """A URL that cannot be used."""

    code = "fetch_error"


class UrlNotAllowed(FetchError):
    """Refused before any connection. One message whatever the reason, so that it tells nothing about a network."""

    code = "url_not_allowed"

    def __init__(self) -> None:
        super().__init__("This URL is not allowed.")


class FetchFailed(FetchError):
    """The remote side failed: status, time, size or redirects."""

    code = "fetch_failed"


class HostFailed(FetchFailed):
    """The host did not answer: another URL of it is likely to fail as well, and to take as long."""


class ModelError(SeesameError):
    """A model that cannot be used."""

    code = "model_error"


class ModelNotFound(ModelError):
    """Neither a curated name, a hub repository nor a folder."""

    code = "model_not_found"


class ModelUnavailable(ModelError):
    """Not in the cache and cannot be downloaded now; trying again later may work."""

    code = "model_unavailable"


class ModelInvalid(ModelError):
    """The files are there but are not a usable model."""

    code = "model_invalid"


class EmbedderError(SeesameError):
    """No vector can be had now; trying again later may work."""

    code = "embedder_error"


class EmbedderUnavailable(EmbedderError):
    """The CLIP service is down, or what it says makes no sense."""

    code = "clip_unavailable"


class EmbedderTimeout(EmbedderUnavailable):
    """The CLIP service did not answer in time."""

    code = "clip_timeout"


class DecoderUnavailable(EmbedderUnavailable):
    """No process was free in time to decode the picture, or none can be started."""

    code = "decoder_unavailable"

    def __init__(self) -> None:
        super().__init__("Pictures cannot be decoded now. Come again in a moment.")


class EmbedderBusy(EmbedderError):
    """The queue is full."""

    code = "clip_busy"

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("Too much is waiting for the model. Come again in a moment.")
        self.retry_after_s = retry_after_s


class SettingsError(SeesameError):
    """An environment variable holds something else than it should."""

    code = "settings_error"


class InvalidInput(SeesameError):
    """A field of a request or of an imported record is wrong."""

    code = "invalid_input"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class PathNotAllowed(InvalidInput):
    """A picture is named by a path in a file that was sent: the server's own files are nobody's to name."""

    code = "path_not_allowed"

    def __init__(self, field: str) -> None:
        super().__init__(field, "In a file that is sent, pictures are named by URLs.")


class UnsupportedFile(SeesameError):
    """A file to import that is neither CSV nor JSON Lines."""

    code = "unsupported_format"


class NotFound(SeesameError):
    """A product, an image, a space or a job that does not exist."""

    code = "not_found"


class DeletionRefused(SeesameError):
    """A sync would delete more than it may, or does not know which products its file names."""

    code = "deletion_refused"


class JobsFull(SeesameError):
    """Too many imports wait."""

    code = "too_many_jobs"
    retry_after_s = 30.0

    def __init__(self) -> None:
        super().__init__("Too many imports wait already. Come again when some have ended.")


class JobEnded(SeesameError):
    """A job was cancelled, or another process has it now, so what was about to be written is not."""

    code = "job_ended"


class SpaceConflict(SeesameError):
    """A change of the model that is not possible as things are."""

    code = "space_conflict"


class SpaceIncomplete(SpaceConflict):
    """Images lack their vector in the space that is to answer."""

    code = "space_incomplete"

    def __init__(self, key: str, missing: int) -> None:
        super().__init__(f"{missing:,} images lack their vector in {key}, so it cannot answer yet.")
        self.missing = missing


class DatabaseError(SeesameError):
    """The database cannot be used."""

    code = "database_error"


class DatabaseUnavailable(DatabaseError):
    """The database cannot be reached now; trying again later may work."""

    code = "database_unavailable"


class SpaceChanged(DatabaseUnavailable):
    """A table of vectors became another one between two statements; a second try finds it."""


class TableInUse(DatabaseUnavailable):
    """Another transaction holds the table."""


class DatabaseUnsuitable(DatabaseError):
    """The database was reached, but is too old or lacks a right."""

    code = "database_unsuitable"


class StorageFull(SeesameError):
    """No room is left for a picture or for the embedded database."""

    code = "storage_full"
