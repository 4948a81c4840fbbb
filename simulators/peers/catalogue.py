"""The peers by name."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Final

from simulators.peers.cooccurrence import Cooccurrence
from simulators.peers.events import Stream
from simulators.peers.peer import Peer
from simulators.peers.popularity import Popularity
from simulators.peers.river_mf import RiverMF
from stream.errors import UsageError

REFITS: Final = 20
"""Peers that are fitted now and then are refitted after every 1/20 of the stream."""


def _itemknn(stream: Stream, *, recent: bool) -> Peer:
    from simulators.peers.itemknn import itemknn

    return itemknn(_events_per_refit(stream), recent=recent)


def _als(stream: Stream, seed: int, *, recent: bool) -> Peer:
    from simulators.peers.als import als

    return als(_events_per_refit(stream), seed, recent=recent)


def _bpr(stream: Stream, seed: int) -> Peer:
    from simulators.peers.bpr import bpr

    return bpr(_events_per_refit(stream), seed)


def _events_per_refit(stream: Stream) -> int:
    return max(1, stream.events.num_events // REFITS)


PEERS: Final[dict[str, Callable[[Stream, int], Peer]]] = {
    "popularity": lambda stream, _: Popularity(stream.num_items),
    "itemknn": lambda stream, _: _itemknn(stream, recent=False),
    "itemknn-recent": lambda stream, _: _itemknn(stream, recent=True),
    "als": lambda stream, seed: _als(stream, seed, recent=False),
    "als-recent": lambda stream, seed: _als(stream, seed, recent=True),
    "bpr": _bpr,
    "cooccurrence": lambda stream, _: Cooccurrence(stream.num_items),
    "river-mf": lambda stream, seed: RiverMF(stream.num_items, seed),
}
_NEED_IMPLICIT: Final = ("itemknn", "itemknn-recent", "als", "als-recent", "bpr")


def check_installed(names: list[str]) -> None:
    """Refuse peers whose library is missing.

    Raises:
        UsageError: names the peers, and what installs the library.

    """
    wanted = [name for name in names if name in _NEED_IMPLICIT]
    if not wanted:
        return
    try:
        import implicit  # noqa: F401
    except ImportError:
        raise UsageError(
            f"--models {', '.join(wanted)}: the library implicit is missing; pip install 'scall-stream[bench]'"
        ) from None


def library_versions(names: list[str]) -> dict[str, str]:
    """Return the version of the library that peers of these names need, if any does."""
    return {"implicit": version("implicit")} if set(names) & set(_NEED_IMPLICIT) else {}


def open_peer(name: str, stream: Stream, seed: int) -> Peer:
    """Return the peer of this name, before its first event; of the stream it is told the length and the numbers."""
    return PEERS[name](stream, seed)
