"""What the learning process and the one that answers requests tell each other, over a pair of Unix sockets."""

import select
import socket
from collections import deque
from collections.abc import Iterator
from threading import Lock
from typing import Final

import msgspec

from stream.adapters.http.copies import Plan
from stream.config import Settings
from stream.core.stats import WindowReport
from stream.core.status import Status
from stream.service_settings import Http


class Setup(msgspec.Struct, frozen=True, tag=True):
    """The first message: what to answer requests with. It holds a token, so it goes no other way."""

    settings: Settings
    http: Http
    folder: str
    """Of the checkpoints, through which another budget is asked for."""


class Standing(msgspec.Struct, frozen=True, tag=True):
    """How the learner stands."""

    status: Status
    is_copied: bool
    """The copy lent last still is what the model is."""


class Closed(msgspec.Struct, frozen=True, tag=True):
    """A window closed."""

    window: WindowReport


class Lent(msgspec.Struct, frozen=True, tag=True):
    """A copy of the model to answer from, the newest; the descriptor of its memory comes along."""

    number: int
    plan: Plan
    taken_s: float
    """When it was made, seconds since the epoch."""
    watermark_ms: int | None
    """Event time of the newest event learnt."""


class Listening(msgspec.Struct, frozen=True, tag=True):
    """Requests are answered from now on."""

    port: int


class Refused(msgspec.Struct, frozen=True, tag=True):
    """Requests cannot be answered, and the process ends."""

    text: str
    """Why, in one line."""


class Returned(msgspec.Struct, frozen=True, tag=True):
    """A copy is no longer read."""

    number: int


class Logged(msgspec.Struct, frozen=True, tag=True):
    """A line for the log."""

    level: int
    text: str


Message = Setup | Standing | Closed | Lent | Listening | Refused | Returned | Logged

_LENGTH_BYTES: Final = 4
_CHUNK_BYTES: Final = 1 << 18
_MAX_DESCRIPTORS: Final = 16


class Wire:
    """One end. Nothing here ever waits but :meth:`wait`: what cannot be sent at once stays pending.

    Each message is a little-endian uint32, its length in bytes, and MessagePack. Any thread may send, one may receive.
    """

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self.is_closed = False
        """The other end is gone."""
        self._end = end
        self._sending = Lock()
        self._outgoing: deque[tuple[memoryview, int | None]] = deque()
        """What is left to send of each message, and the descriptor to go with it."""
        self._incoming = bytearray()
        self._descriptors: deque[int] = deque()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Message)

    def send(self, message: Message, descriptor: int | None = None) -> bool:
        """Send a message, after those that are pending; return whether nothing is pending any more."""
        body = self._encoder.encode(message)
        with self._sending:
            self._outgoing.append((memoryview(len(body).to_bytes(_LENGTH_BYTES, "little") + body), descriptor))
        return self.flush()

    def flush(self) -> bool:
        """Send what is pending, as far as the other end takes it; return whether nothing is pending any more."""
        with self._sending:
            while self._outgoing:
                data, descriptor = self._outgoing[0]
                try:
                    if descriptor is None:
                        num_sent = self._end.send(data)
                    else:
                        num_sent = socket.send_fds(self._end, [data], [descriptor])
                except BlockingIOError:
                    return False
                except OSError:
                    # Nobody takes it any more. What was said before that is still to be received, and then the end.
                    self._outgoing.clear()
                    return False
                if num_sent == len(data):
                    self._outgoing.popleft()
                else:
                    self._outgoing[0] = (data[num_sent:], None)
        return True

    def receive(self) -> Iterator[tuple[Message, int | None]]:
        """Yield the messages that have come, a copy's with the descriptor that came along; what is not taken stays."""
        self._fill()
        while (message := self._next()) is not None:
            yield message, self._descriptors.popleft() if isinstance(message, Lent) else None

    def _fill(self) -> None:
        while not self.is_closed:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._end, _CHUNK_BYTES, _MAX_DESCRIPTORS)
            except BlockingIOError:
                break
            except OSError:
                data, descriptors = b"", []
            self.is_closed = not data
            self._incoming += data
            self._descriptors.extend(descriptors)

    def _next(self) -> Message | None:
        incoming = self._incoming
        end = _LENGTH_BYTES + int.from_bytes(incoming[:_LENGTH_BYTES], "little")
        if len(incoming) < max(end, _LENGTH_BYTES):
            return None
        message: Message = self._decoder.decode(incoming[_LENGTH_BYTES:end])
        del incoming[:end]
        return message

    def wait(self, timeout_s: float) -> None:
        """Wait until there is something to receive, or room for what is pending, or for so long."""
        poll = select.poll()
        poll.register(self._end, select.POLLIN | (select.POLLOUT if self._outgoing else 0))
        poll.poll(1000 * timeout_s)

    def close(self) -> None:
        """Close this end."""
        self.is_closed = True
        self._end.close()
