"""HTTP/1.1 for clients that cannot be trusted: one that is slow or says too much loses its connection."""

import asyncio
import socket
import struct
from asyncio import TimerHandle
from dataclasses import dataclass
from http import HTTPStatus
from uuid import uuid4

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from seesame.http.problems import problem
from seesame.logs import request_id

_MAX_HEAD_BYTES = 32 * 1024
_MIN_READ_BYTES = 16 * 1024  # of a reply, in each `unread_s`
_LINGER_S = 1
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: what is unsent is dropped, by the kernel too


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """How long a client may take. The body of a request is the middleware's to time, which can answer."""

    head_s: float = 5
    """From the connection to the end of the first request's head."""
    idle_s: float = 10
    """From the end of a reply to the end of the next request's head."""
    unread_s: float = 7
    """Without reading a noteworthy part of a reply; a stalled reader is gone after twice this."""


class ClientProtocol(HttpToolsProtocol):
    """One connection. `limits` is replaced in a subclass, since uvicorn takes a class and makes the instances."""

    limits = ClientLimits()

    _head_timer: TimerHandle | None = None
    _reader_timer: TimerHandle | None = None
    _unread_bytes = 0
    _framing_bytes = 0
    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Gives the client its time for the first head."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # so that `pause_writing` tells of any byte that is not read
        self._close_in(self.limits.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the timers."""
        super().connection_lost(exc)
        for timer in (self._head_timer, self._reader_timer):
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Parses; counts what is neither body nor done with, which the parser keeps or skips without a word."""
        if self._refused:
            return
        self._unset_keepalive_if_required()
        self._framing_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self._refuse()
        except httptools.HttpParserUpgrade as upgrade:
            self._feed_without_upgrade(data[upgrade.args[0] :])
        else:
            if self._framing_bytes > _MAX_HEAD_BYTES:
                self._refuse()

    def on_headers_complete(self) -> None:
        """Begins the request, unless its head is too large."""
        self._framing_bytes = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if self._framing_bytes > _MAX_HEAD_BYTES or self.parser.get_method() == b"CONNECT":
            raise ValueError("refused")  # out of the parser it comes as an HttpParserError
        self._framing_bytes = 0
        if not self.parser.should_upgrade():
            self._stay()
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Takes a part of the body."""
        self._framing_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Ends the request."""
        self._framing_bytes = 0
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Gives the client its time for the next head, and for the rest of a body that was answered early."""
        pipelined = bool(self.pipeline)
        super().on_response_complete()
        if not pipelined and not self.transport.is_closing():
            self._close_in(self.limits.idle_s)

    def pause_writing(self) -> None:
        """Begins to watch whether the client reads."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """All is read, or on its way."""
        super().resume_writing()
        if self._reader_timer is not None:
            self._reader_timer.cancel()

    def _feed_without_upgrade(self, rest: bytes) -> None:
        """Parses a request again as if it asked for no other protocol.

        Clients in Java and `curl --http2` ask for HTTP/2 with their first request, and the parser then skips its body.
        """
        head = [self.parser.get_method(), b" ", self.url, b" HTTP/", self.parser.get_http_version().encode(), b"\r\n"]
        for name, value in self.headers:
            if name != b"upgrade":
                head += [name, b": ", value, b"\r\n"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn sets it, for pipelining
        self.data_received(b"".join([*head, b"\r\n", rest]))

    def _close_in(self, seconds: float) -> None:
        self._stay()
        # Not aborted: a slow reader may still be at the reply before, and has its own watch.
        self._head_timer = self.loop.call_later(seconds, self.transport.close)

    def _stay(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()

    def _watch_reader(self) -> None:
        self._unread_bytes = self.transport.get_write_buffer_size()
        self._reader_timer = self.loop.call_later(self.limits.unread_s, self._check_reader)

    def _check_reader(self) -> None:
        if self._unread_bytes - self.transport.get_write_buffer_size() >= _MIN_READ_BYTES:
            self._watch_reader()
            return
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def _refuse(self) -> None:
        """Ends a connection that is not, or no longer, understood."""
        self._refused = True
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if cycle.response_started or self.pipeline:
                self.transport.close()  # what is written now could be taken for a part of another reply
                return
            cycle.disconnected = True  # this is the reply; the application's goes nowhere
            cycle.message_event.set()
        too_large = self._framing_bytes > _MAX_HEAD_BYTES
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if too_large else HTTPStatus.BAD_REQUEST
        self.logger.info("Refused a request: %s", status.phrase)
        self.transport.write(_refusal(status))
        # Closed at once, with bytes of the client unread, the kernel would take this reply back.
        self.transport.write_eof()
        self._close_in(_LINGER_S)


def _refusal(status: HTTPStatus) -> bytes:
    """A problem as it goes over the wire: no request came of it that an application could answer."""
    current = uuid4().hex
    token = request_id.set(current)
    try:
        reply = problem(status, status.phrase.lower().replace(" ", "_"), f"{status.phrase}.")
    finally:
        request_id.reset(token)
    reply.headers.update({"Connection": "close", "X-Request-ID": current})
    headers = [name + b": " + value for name, value in reply.raw_headers]
    return b"\r\n".join([f"HTTP/1.1 {status} {status.phrase}".encode(), *headers, b"", bytes(reply.body)])


def limited(limits: ClientLimits) -> type[ClientProtocol]:
    """The protocol with these limits."""
    return type("ClientProtocol", (ClientProtocol,), {"limits": limits})
