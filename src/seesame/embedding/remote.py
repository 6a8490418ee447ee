"""The CLIP service over HTTP, and the embedder that asks it."""

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Literal

import httpx2
import numpy as np

from seesame.embedding.breaker import Breaker
from seesame.embedding.deadline import DeadlineTransport
from seesame.errors import (
    EmbedderBusy,
    EmbedderError,
    EmbedderTimeout,
    EmbedderUnavailable,
    ImageError,
    ImageTooLarge,
    ImageUndecodable,
    ModelInvalid,
    UnsupportedFormat,
)
from seesame.outcomes import outcome_told
from seesame.types import Embedded, SpaceIdentity, Vectors

logger = logging.getLogger(__name__)

MAX_ROWS: Final = 32
"""How many pictures or texts the service takes in one request."""

MAX_BATCH_BYTES: Final = 16_000_000
"""How many bytes of pictures go in one request; few, since the service's queue is bounded by bytes."""

UNREACHABLE: Final = "The CLIP service cannot be reached."
TOO_SLOW: Final = "The CLIP service did not answer in time."
FAILED: Final = "The CLIP service failed."
NONSENSE: Final = "What the CLIP service answered makes no sense."
OTHER_SPACE: Final = "The CLIP service answers with vectors of another model."
OTHER_KEY: Final = "The CLIP service asks for another key. SEESAME_CLIP_KEY must be the same there and here."
REFUSED: Final = "The CLIP service refused the request."

_CHECK_S: Final = 1.0
_BUSY_S: Final = 1.0
_MAX_RETRY_AFTER_S: Final = 60.0
_MAX_OTHER_BYTES: Final = 64 * 1024  # of a reply that is no vectors
_MAX_DETAIL_CHARS: Final = 300
_TOLERANCE: Final = 1e-3
_LOG_EVERY_S: Final = 60.0
_HEADERS: Final = {"Accept": "application/octet-stream", "Accept-Encoding": "identity"}
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")

_PICTURE_FAULTS: Final[Mapping[str, tuple[type[ImageError], str]]] = MappingProxyType(
    {
        "unsupported_format": (UnsupportedFormat, "The picture is in none of the formats that are supported."),
        "image_too_large": (ImageTooLarge, "The picture has too many bytes or pixels."),
        "image_undecodable": (ImageUndecodable, "The picture is damaged and cannot be decoded."),
    }
)


OnRequest = Callable[[Literal["query", "bulk"], str, float], None]
"""Told of each request for vectors: `ok`, or the code of its error, and seconds."""


@dataclass(frozen=True, slots=True)
class ServiceState:
    """What the service says of itself. `identity` is None until its model is loaded."""

    status: str
    ready: bool
    identity: SpaceIdentity | None
    has_text: bool
    detail: str | None


@dataclass(frozen=True, slots=True)
class _Question:
    """A request for `count` vectors of the space `digest`. `body` is in the words of httpx."""

    path: str
    about: Literal["pictures", "texts"]
    count: int
    digest: str
    dimensions: int
    body: Mapping[str, Any]


class ClipService:
    """A client of the CLIP service. Safe to call from several threads; close it when done.

    A deadline holds for the whole of a request, from dialling to the reply's last byte. Only the system's own work
    escapes it: looking up a host name, and dialling one after another the addresses of a host that has several.
    """

    def __init__(
        self,
        url: str,
        *,
        deadline_s: float = 3.0,
        bulk_deadline_s: float = 60.0,
        max_in_flight: int = 16,
        breaker: Breaker | None = None,
        clock: Callable[[], float] = time.monotonic,
        headers: Callable[[], Mapping[str, str]] | None = None,
        on_request: OnRequest = lambda kind, outcome, seconds: None,  # noqa: ARG005 - nobody measures
    ) -> None:
        """`deadline_s` is for a whole query, `bulk_deadline_s` for each request of a bulk call.

        `headers` is asked at each request for headers to send along, such as a request id. Raises ValueError for a
        `url` that is no http or https URL.
        """
        self._deadline_s = deadline_s
        self._bulk_deadline_s = bulk_deadline_s
        self._places = threading.BoundedSemaphore(max_in_flight)
        self._breaker = Breaker() if breaker is None else breaker
        self._clock = clock
        self._headers = headers
        self._on_request = on_request
        self._logged: dict[str, float] = {}
        base = _checked(url)
        transport = DeadlineTransport(base, max_kept=max_in_flight + 4, clock=clock)
        self._client = httpx2.Client(base_url=base, transport=transport, trust_env=False, headers=_HEADERS)

    @property
    def available(self) -> bool:
        """False while a call would be refused at once, without a request."""
        return not self._client.is_closed and not self._breaker.refuses(self._clock())

    @property
    def breaker(self) -> Literal["closed", "open", "half_open"]:
        """The state of the circuit breaker."""
        return self._breaker.state(self._clock())

    def check(self) -> ServiceState | None:
        """What the service says of itself within a second, ready or not; None if it is not reached or makes no sense.

        Tells the breaker, of which it is a probe too. While the breaker refuses, this is None without a request.
        """
        period = self._breaker.admit(self._clock())
        if period is None:
            return None
        try:
            state = self._state()
        except EmbedderUnavailable:
            state = None
        if state is not None and state.ready:
            self._breaker.succeeded(period)
        else:
            self._breaker.trip(self._clock())
        return state

    def embed_images(
        self, pictures: Sequence[bytes], *, digest: str, dimensions: int, bulk: bool = False
    ) -> list[Embedded]:
        """One unit vector of the space `digest`, or the reason why there is none, for each picture, in order.

        Raises EmbedderBusy, EmbedderUnavailable or EmbedderTimeout; then all of the call is lost.
        """
        questions = [_about_pictures(chunk, digest, dimensions, bulk=bulk) for chunk in _chunks(pictures)]
        if bulk:
            return [result for each in questions for result in self._ask_bulk(each)]
        with self._place() as until:
            return [result for each in questions for result in self._ask(each, until)]

    def embed_texts(self, texts: Sequence[str], *, digest: str, dimensions: int) -> Vectors:
        """Unit vectors of the space `digest`, shape (n, dimensions). Raises as `embed_images` does."""
        rows: list[Embedded] = []
        with self._place() as until:
            for start in range(0, len(texts), MAX_ROWS):
                rows += self._ask(_about_texts(texts[start : start + MAX_ROWS], digest, dimensions), until)
        return np.array(rows, np.float32).reshape(len(texts), dimensions)

    def close(self) -> None:
        """Closes the connections; a later call raises EmbedderUnavailable."""
        self._client.close()

    def _state(self) -> ServiceState:
        """Asks, whatever the breaker thinks. Raises EmbedderUnavailable."""
        with self._reply("GET", "health", until=self._clock() + _CHECK_S) as response:
            if response.status_code == 401:
                self._warn(f"⚠️ {OTHER_KEY}", {})
            if response.status_code != 200:
                raise EmbedderUnavailable(FAILED)
            facts = _json_object(_body(response, _MAX_OTHER_BYTES))
        status = _plain(facts.get("status"))
        if status is None:
            raise EmbedderUnavailable(NONSENSE)
        return ServiceState(
            status=status,
            ready=facts.get("ready") is True,
            identity=_identity(facts),
            has_text=facts.get("has_text") is True,
            detail=_plain(facts.get("detail")),
        )

    @contextmanager
    def _place(self) -> Iterator[float]:
        """A place among the queries in flight, and until when; so a stalled service cannot hold all threads."""
        if not self.available:
            raise EmbedderUnavailable(UNREACHABLE)
        if not self._places.acquire(blocking=False):
            raise EmbedderBusy(_BUSY_S)
        try:
            yield self._clock() + self._deadline_s
        finally:
            self._places.release()

    def _ask_bulk(self, question: _Question) -> list[Embedded]:
        return self._ask(question, self._clock() + self._bulk_deadline_s, kind="bulk")

    def _ask(self, question: _Question, until: float, *, kind: Literal["query", "bulk"] = "query") -> list[Embedded]:
        with outcome_told(partial(self._on_request, kind)):
            return self._asked(question, until)

    def _asked(self, question: _Question, until: float) -> list[Embedded]:
        """Asks if the breaker lets it, and tells the breaker: what `_answer` raises is a failure of the service."""
        period = self._breaker.admit(self._clock())
        if period is None:
            raise EmbedderUnavailable(UNREACHABLE)
        try:
            with self._reply("POST", question.path, until=until, **question.body) as response:
                answer = self._answer(response, question)
        except EmbedderUnavailable:
            self._breaker.failed(period, self._clock())
            raise
        self._breaker.succeeded(period)
        if isinstance(answer, EmbedderError):
            raise answer
        return answer

    def _answer(self, response: httpx2.Response, question: _Question) -> list[Embedded] | EmbedderError:
        """The results, or an error with which the service shows that it lives. Raises EmbedderUnavailable."""
        if response.status_code != 200:
            return self._refusal(response, question)
        digest = response.headers.get("X-Seesame-Digest", "")
        if digest != question.digest:
            self._warn(OTHER_SPACE, {"expected": question.digest, "found": digest[:64]})
            return EmbedderUnavailable(OTHER_SPACE)
        length = question.count * question.dimensions * 4
        body = _body(response, length)
        if len(body) != length:
            raise EmbedderUnavailable(NONSENSE)
        faults = response.headers.get("X-Seesame-Errors", "{}") if question.about == "pictures" else "{}"
        rows = np.frombuffer(body, "<f4").reshape(question.count, question.dimensions)
        return _results(rows, _json_object(faults.encode()))

    def _refusal(self, response: httpx2.Response, question: _Question) -> list[Embedded] | EmbedderError:
        status = response.status_code
        if not 400 <= status <= 500:
            raise EmbedderUnavailable(FAILED)
        body = _body(response, _MAX_OTHER_BYTES)  # also where it does not matter, so that the connection is kept
        if status == 429:
            return EmbedderBusy(_retry_after_s(response.headers.get("Retry-After", "")))
        problem = _problem(body)
        code = _plain(problem.get("code"))
        one_picture = (question.about, question.count) == ("pictures", 1)
        if status == 500:
            if one_picture and code == ModelInvalid.code:
                return [_fault(code)]
            raise EmbedderUnavailable(FAILED)
        fault = _PICTURE_FAULTS.get(code or "")
        if fault is not None and status in (413, 415, 422) and one_picture:
            kind, message = fault
            return [kind(_plain(problem.get("detail")) or message)]
        self._warn(REFUSED, {"path": question.path, "status": status, "code": code})
        return EmbedderUnavailable(REFUSED)

    @contextmanager
    def _reply(self, method: str, path: str, *, until: float, **options: Any) -> Iterator[httpx2.Response]:
        """The reply up to its headers; also what goes wrong while its body is read is translated here."""
        headers = {**options.pop("headers", {}), **(self._headers() if self._headers else {})}
        timeout = httpx2.Timeout(connect=until, read=until, write=until, pool=None)  # see DeadlineTransport

        def send() -> httpx2.Response:
            request = self._client.build_request(method, path, headers=headers, timeout=timeout, **options)
            try:
                return self._client.send(request, stream=True)
            except RuntimeError as error:  # the client was closed, perhaps by another thread just now
                raise EmbedderUnavailable(UNREACHABLE) from error

        try:
            try:
                response = send()
            except (httpx2.NetworkError, httpx2.RemoteProtocolError):
                response = send()  # the other side may just have closed the idle connection that was used
            try:
                yield response
            finally:
                response.close()
        except httpx2.TimeoutException as error:
            raise EmbedderTimeout(TOO_SLOW) from error
        except httpx2.HTTPError as error:
            raise EmbedderUnavailable(UNREACHABLE) from error

    def _warn(self, message: str, fields: dict[str, object]) -> None:
        """Logs that the two sides do not fit, but not at every request."""
        now = self._clock()
        if now - self._logged.get(message, -_LOG_EVERY_S) >= _LOG_EVERY_S:
            self._logged[message] = now
            logger.warning(message, extra=fields)


class RemoteEmbedder:
    """The embedder of one space of a CLIP service. It owns nothing: who made the service closes it."""

    bulk_size = 8  # a request costs something, and the service remembers what it computed for one that was killed

    def __init__(self, service: ClipService, identity: SpaceIdentity, *, has_text: bool) -> None:
        self._service = service
        self._identity = identity
        self._has_text = has_text

    @property
    def identity(self) -> SpaceIdentity:
        """The space that the vectors belong to; a service that has changed to another is refused."""
        return self._identity

    @property
    def has_text(self) -> bool:
        """Whether the service's model has a text tower."""
        return self._has_text

    @property
    def available(self) -> bool:
        """Whether it is worth asking the service now."""
        return self._service.available

    def embed_images(self, pictures: Sequence[bytes], *, bulk: bool = False) -> list[Embedded]:
        """One unit vector, or the reason why there is none, for each picture, in order. Raises EmbedderError."""
        return self._service.embed_images(
            pictures, digest=self._identity.digest, dimensions=self._identity.dimensions, bulk=bulk
        )

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, shape (n, dimensions). Raises EmbedderError, and ModelInvalid where `has_text` is False."""
        if not self._has_text:
            raise ModelInvalid("This model has no text tower.")
        return self._service.embed_texts(texts, digest=self._identity.digest, dimensions=self._identity.dimensions)

    def close(self) -> None:
        """Does nothing: the service may be shared."""


def _results(rows: Vectors, faults: Mapping[str, object]) -> list[Embedded]:
    """The rows as vectors, copied; raises EmbedderUnavailable for one that is no unit vector and has no fault."""
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    unit = np.abs(lengths - 1) < _TOLERANCE  # False for NaN and infinity
    results: list[Embedded] = []
    for index, row in enumerate(rows):
        code = faults.get(str(index))
        if code is not None:
            results.append(_fault(str(code)))
        elif unit[index]:
            results.append(row.astype(np.float32))
        else:
            raise EmbedderUnavailable(NONSENSE)
    return results


def _fault(code: str) -> ImageError | ModelInvalid:
    """A picture's fault by its code; one that this release does not know yet is the picture's alone, too."""
    if code == ModelInvalid.code:
        return ModelInvalid("The model failed on this picture.")
    fault, message = _PICTURE_FAULTS.get(code, (ImageError, "The CLIP service cannot use this picture."))
    return fault(message)


def _about_pictures(pictures: Sequence[bytes], digest: str, dimensions: int, *, bulk: bool) -> _Question:
    """One picture goes the fast way, unless nobody waits for it."""
    if len(pictures) == 1 and not bulk:
        body = {"content": pictures[0], "headers": {"Content-Type": "application/octet-stream"}}
        return _Question("extract-features", "pictures", 1, digest, dimensions, body)
    parts = [("images", ("picture", picture, "application/octet-stream")) for picture in pictures]
    return _Question("extract-features/batch", "pictures", len(pictures), digest, dimensions, {"files": parts})


def _about_texts(texts: Sequence[str], digest: str, dimensions: int) -> _Question:
    body = json.dumps({"texts": list(texts)}).encode()  # ASCII by escapes: also for text that UTF-8 cannot hold
    content = {"content": body, "headers": {"Content-Type": "application/json"}}
    return _Question("extract-text-features", "texts", len(texts), digest, dimensions, content)


def _chunks(pictures: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Runs of pictures that fit one request; a picture that is too large by itself goes alone."""
    start = size = 0
    for index, picture in enumerate(pictures):
        if index > start and (index - start == MAX_ROWS or size + len(picture) > MAX_BATCH_BYTES):
            yield pictures[start:index]
            start, size = index, 0
        size += len(picture)
    if start < len(pictures):
        yield pictures[start:]


def _body(response: httpx2.Response, max_bytes: int) -> bytes:
    body = bytearray()
    for part in response.iter_raw():
        body += part
        if len(body) > max_bytes:
            raise EmbedderUnavailable(NONSENSE)
    return bytes(body)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise EmbedderUnavailable(NONSENSE) from error
    if not isinstance(value, dict):
        raise EmbedderUnavailable(NONSENSE)
    return value


def _problem(body: bytes) -> dict[str, Any]:
    """The problem's fields; none if something between here and the service answered instead of it."""
    try:
        return _json_object(body)
    except EmbedderUnavailable:
        return {}


def _plain(value: object) -> str | None:
    """The value if it is a short line of text, fit to be shown."""
    return value if isinstance(value, str) and 0 < len(value) <= _MAX_DETAIL_CHARS and value.isprintable() else None


def _identity(facts: Mapping[str, Any]) -> SpaceIdentity | None:
    """The model that the service has loaded, or None. Raises EmbedderUnavailable for half a model."""
    model, digest, dimensions = _plain(facts.get("model")), facts.get("digest"), facts.get("dimensions")
    if digest is None:
        return None
    if model is None or not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise EmbedderUnavailable(NONSENSE)
    if type(dimensions) is not int or dimensions < 1:
        raise EmbedderUnavailable(NONSENSE)
    return SpaceIdentity(model, digest, dimensions)


def _retry_after_s(text: str) -> float:
    return min(float(text), _MAX_RETRY_AFTER_S) if re.fullmatch(r"[0-9]{1,9}", text) else _BUSY_S


def _checked(url: str) -> httpx2.URL:
    try:
        checked = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise ValueError("the CLIP service's URL cannot be read") from error
    if checked.scheme not in ("http", "https") or not checked.host:
        raise ValueError("the CLIP service's URL must be http://HOST:PORT or https://HOST:PORT")
    return checked
