"""The peers by name: what library each needs, and how it is opened. A library that is missing is told, never raised."""

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from typing import Any, NamedTuple

from tests.benchmarks.peers.learner import Learner

PACKAGE = "tests.benchmarks.peers"


class Peer(NamedTuple):
    """A peer that may not be installed."""

    library: str
    """The distribution whose version is told."""
    module: str
    open: Callable[[Any, int, int, int], Learner]
    """From its module, the number of factors, and the numbers of users and items."""


def _weights(num_factors: int, num_users: int, num_items: int) -> int:
    """Return the bits of a table in which a quarter of the places are taken, if everyone has a place of its own."""
    return (4 * (num_users + num_items) * (num_factors + 1)).bit_length()


PEERS = {
    "River BiasedMF": Peer("river", "river_mf", lambda module, k, *_: module.RiverMF(k)),
    "Vowpal Wabbit --lrq": Peer(
        "vowpalwabbit", "vowpal", lambda module, k, *shape: module.VowpalWabbit(k, _weights(k, *shape))
    ),
    "torch sparse Adagrad": Peer("torch", "torch_tables", lambda module, *shape: module.TorchTables(*shape)),
    "torch SparseAdam": Peer(
        "torch", "torch_tables", lambda module, *shape: module.TorchTables(*shape, optimizer="SparseAdam")
    ),
    "FBGEMM TBE": Peer("fbgemm-gpu-cpu", "fbgemm_tables", lambda module, *shape: module.FbgemmTables(*shape)),
    "implicit ALS": Peer("implicit", "implicit_epochs", lambda module, k, *_: module.ImplicitEpochs("ALS", k)),
    "implicit BPR": Peer("implicit", "implicit_epochs", lambda module, k, *_: module.ImplicitEpochs("BPR", k)),
}


def missing(name: str) -> str | None:
    """Return why a peer cannot be opened, in one line; None if it can."""
    peer = PEERS[name]
    try:
        import_module(f"{PACKAGE}.{peer.module}")
    except (ImportError, OSError) as error:
        reason = str(error).splitlines()[0]
        return f"{peer.library} does not load ({reason}); pip install 'scall-stream[bench]' -c constraints.txt"
    return None


def open_peer(name: str, num_factors: int, num_users: int, num_items: int) -> Learner:
    """Return a peer before its first event; raises ImportError or OSError where :func:`missing` says why."""
    peer = PEERS[name]
    return peer.open(import_module(f"{PACKAGE}.{peer.module}"), num_factors, num_users, num_items)


def version_of(name: str) -> str:
    """Return the version of a peer's library."""
    return version(PEERS[name].library)
