"""What a client may ask for: how much at once, and how often."""

import math
import time
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stream.adapters.http.problems import ProblemError, shown
from stream.core.event import MAX_ID_BYTES

MAX_ITEMS: Final = 1000
"""Most items in an answer."""
MAX_USERS: Final = 100
"""Most users in a batch."""
MAX_BODY_BYTES: Final = 256 * 2**10
"""Room for a batch of the longest ids, every character of them escaped."""
_MAX_CLIENTS: Final = 10_000
"""Client addresses to be remembered at a time."""
FREE_PATHS: Final = ("/live", "/ready", "/metrics")
"""What watches the service is never refused for asking too often."""


def check_id(name: str, what: str) -> str:
    """Return an id that an event can have.

    Raises:
        ProblemError: it is empty or too long.

    """
    length = len(name.encode())
    if not 1 <= length <= MAX_ID_BYTES:
        raise ProblemError(422, f"{what} has {length} bytes: an id has 1 to {MAX_ID_BYTES} bytes of UTF-8")
    return name


class Rates:
    """Lets each client address have ``per_s`` answers a second, as many at once, and refuses what is more.

    A client's answers are due one after the other, 1 / per_s apart (the generic cell rate algorithm, ATM Forum 1996):
    all that is remembered is until when what it had would have lasted. IPv6 addresses count by their network of 64
    bits, for a client has all of that to itself.

    >>> rates = Rates(2, clock=iter([0.0, 0.1, 0.2, 0.7]).__next__)
    >>> rates.charge(("192.0.2.1", 1)), rates.charge(("192.0.2.1", 2))
    (None, None)
    >>> rates.charge(("192.0.2.1", 3))
    Traceback (most recent call last):
    ...
    stream.adapters.http.problems.ProblemError: 192.0.2.1 asks for more than 2 answers a second: wait, then ask again
    >>> rates.charge(("192.0.2.1", 4))
    """

    def __init__(self, per_s: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_s = per_s
        self._clock = clock
        self._used_until_s: dict[str, float] = {}

    def charge(self, client: tuple[str, int] | None, num: int = 1) -> None:
        """Note that a client asks for ``num`` answers.

        Raises:
            ProblemError: that is too much for now (429), or for ever (422).

        """
        if num > self.per_s:
            limit = f"http.max_requests_per_second = {self.per_s}"
            raise ProblemError(422, f"{num} answers at once are more than {limit}: ask for fewer")
        address, now_s = _network_of(client[0] if client else ""), self._clock()
        until_s = max(self._used_until_s.get(address, now_s), now_s) + num / self.per_s
        if until_s > now_s + 1:
            text = f"{address or 'this client'} asks for more than {self.per_s} answers a second: wait, then ask again"
            raise ProblemError(429, text, {"Retry-After": str(math.ceil(until_s - now_s - 1))})
        self._used_until_s[address] = until_s
        if len(self._used_until_s) > _MAX_CLIENTS:
            self._forget(now_s)

    def _forget(self, now_s: float) -> None:
        """Forget the clients that have all their answers free again; where that is nobody, all."""
        recent = {address: until_s for address, until_s in self._used_until_s.items() if until_s > now_s}
        self._used_until_s = recent if len(recent) < _MAX_CLIENTS // 2 else {}


def _network_of(address: str) -> str:
    """Return what a client is counted by.

    >>> _network_of("192.0.2.7"), _network_of("2001:db8::7%eth0"), _network_of("::ffff:192.0.2.7")
    ('192.0.2.7', '2001:db8::/64', '192.0.2.7')
    """
    if ":" not in address:
        return address
    network = ip_network((address.partition("%")[0], 64), strict=False)
    mapped = ip_network(address.partition("%")[0]).network_address.ipv4_mapped  # type: ignore[union-attr]
    return str(mapped or network)


class Limits:
    """Middleware: refuses clients that ask too often, bodies too long, and paths that are no text."""

    def __init__(self, app: ASGIApp, charge: Callable[[Any], None]) -> None:
        self._app = app
        self._charge = charge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request (ASGI)."""
        if scope["type"] == "http":
            if scope["path"] not in FREE_PATHS:
                self._charge(scope["client"])
            _check_path(scope)
            receive = _limited(scope, receive)
        await self._app(scope, receive, send)


def _check_path(scope: Scope) -> None:
    raw = scope.get("raw_path") or b""
    try:
        unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise ProblemError(
            400, f"{shown(raw.decode('latin-1'))} is not UTF-8: percent-encode the UTF-8 bytes"
        ) from None


def _limited(scope: Scope, receive: Receive) -> Receive:
    """Return a ``receive`` that gives up on a body once it is too long."""
    announced = dict(scope["headers"]).get(b"content-length", b"0")
    too_long = ProblemError(413, f"the body is longer than {MAX_BODY_BYTES} bytes: send less", {"Connection": "close"})
    if not announced.isdigit() or int(announced[:20]) > MAX_BODY_BYTES:
        raise too_long
    num_bytes = 0

    async def receive_some() -> Message:
        nonlocal num_bytes
        message = await receive()
        num_bytes += len(message.get("body", b""))
        if num_bytes > MAX_BODY_BYTES:
            raise too_long
        return message

    return receive_some
