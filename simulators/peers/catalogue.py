"""The peers by name."""

from collections.abc import Callable
from importlib import import_module
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


def _vw_mf(stream: Stream, seed: int) -> Peer:
    from simulators.peers.vw_mf import VowpalWabbitMF

    return VowpalWabbitMF(stream.num_items, seed)


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
    "vw-mf": _vw_mf,
}
_LIBRARIES: Final = {"implicit": ("itemknn", "itemknn-recent", "als", "als-recent", "bpr"), "vowpalwabbit": ("vw-mf",)}
"""Libraries of the extra ``bench``, and the peers that need each."""


def check_installed(names: list[str]) -> None:
    """Refuse peers whose library is missing.

    Raises:
        UsageError: names the peers, and what installs the library.

    """
    for library in _needed(names):
        try:
            import_module(library)
        except ImportError:
            wanted = [name for name in names if name in _LIBRARIES[library]]
            raise UsageError(
                f"--models {', '.join(wanted)}: the library {library} is missing; pip install 'scall-stream[peers]'"
            ) from None


def library_versions(names: list[str]) -> dict[str, str]:
    """Return the versions of the libraries that peers of these names need."""
    return {library: version(library) for library in _needed(names)}


def _needed(names: list[str]) -> list[str]:
    return [library for library, peers in _LIBRARIES.items() if set(names) & set(peers)]


def open_peer(name: str, stream: Stream, seed: int) -> Peer:
    """Return the peer of this name, before its first event; of the stream it is told the length and the numbers."""
    return PEERS[name](stream, seed)
