"""What requests ask and what is answered, as JSON has it."""

import time
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from stream.adapters.http.limits import MAX_ITEMS, MAX_USERS
from stream.core.event import MAX_ID_BYTES
from stream.core.snapshot import Reason, Scored, Snapshot
from stream.core.status import SideStatus, Status

DEFAULT_ITEMS: Final = 20
Number = Annotated[int, Meta(ge=1, le=MAX_ITEMS)]
Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_BYTES)]

_SIZE: Final = {"pattern": "^([1-9][0-9]{0,14}|[1-9][0-9]{0,5}([.][0-9]{1,3})? ?([KMG]iB|[kMG]B))$"}


class Item(msgspec.Struct, frozen=True):
    """An item and what speaks for it; scores can be compared within one answer only."""

    item: str
    score: float


class Recommended(msgspec.Struct, frozen=True):
    """The best items for a user, best first."""

    user: str
    reason: Annotated[Reason, Meta(description="personal: by what is known of the user; popular: known, but without "
                                   "words of its own; cold: not known")]  # fmt: skip
    items: list[Item]


class RecommendedToOne(Recommended, frozen=True):
    """The best items for one user."""

    n: Number
    exclude_seen: bool
    snapshot_age_s: float
    """How long ago the model was as it is answered from; nothing learnt since is in the answer."""
    events_learnt: int
    """Events that the model had learnt then."""


class RecommendedToMany(msgspec.Struct, frozen=True):
    """The best items for each user of a batch, in its order, from one and the same model."""

    users: list[Recommended]
    n: Number
    exclude_seen: bool
    snapshot_age_s: float
    events_learnt: int


class Batch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Users to recommend items to."""

    users: Annotated[list[Id], Meta(min_length=1, max_length=MAX_USERS)]
    n: Number = DEFAULT_ITEMS
    exclude_seen: bool | None = None
    """Leave out what a user took; by default as the model's settings have it."""


class Similar(msgspec.Struct, frozen=True):
    """The items most similar to one by the cosine of their embeddings, nearest first, itself left out."""

    item: str
    items: list[Item]
    n: Number
    snapshot_age_s: float
    events_learnt: int


class BudgetRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The memory budget that is wanted."""

    budget: Annotated[str, Meta(extra_json_schema=_SIZE)] | Annotated[int, Meta(ge=1, lt=2**50)]
    """Bytes, or text with a unit such as 64MiB."""


class BudgetAnswer(msgspec.Struct, frozen=True):
    """What became of it."""

    budget_bytes: int
    in_force: bool
    detail: str


class Sides(msgspec.Struct, frozen=True):
    """Sizes of both sides' embeddings."""

    users: SideStatus
    items: SideStatus


class State(msgspec.Struct, frozen=True):
    """How the service stands."""

    status: Status
    silence_s: float | None
    """Seconds since the learner last told its status."""
    sides: Sides


def excludes_seen(snapshot: Snapshot, asked: bool | None) -> bool:
    """Return whether what a user took is left out: as asked, or else if an item is taken once."""
    return snapshot.hides_taken if asked is None else asked


def recommend_to_one(snapshot: Snapshot, user: str, n: int, exclude_seen: bool | None) -> RecommendedToOne:
    """Return the best items for a user."""
    excludes = excludes_seen(snapshot, exclude_seen)
    items, reason = snapshot.recommend(user, n, exclude_seen=excludes)
    return RecommendedToOne(user, reason, _items(items), n, excludes, **_origin(snapshot))


def recommend_to_some(snapshot: Snapshot, users: list[str], n: int, exclude_seen: bool) -> list[Recommended]:
    """Return the best items for each user."""
    answers = ((user, snapshot.recommend(user, n, exclude_seen=exclude_seen)) for user in users)
    return [Recommended(user, answer.reason, _items(answer.items)) for user, answer in answers]


def gather(snapshot: Snapshot, users: list[Recommended], n: int, exclude_seen: bool) -> RecommendedToMany:
    """Return the answer to a batch."""
    return RecommendedToMany(users, n, exclude_seen, **_origin(snapshot))


def find_similar(snapshot: Snapshot, item: str, n: int) -> Similar | None:
    """Return the items most similar to one; None where it is not known."""
    items = snapshot.similar(item, n)
    return None if items is None else Similar(item, _items(items), n, **_origin(snapshot))


def _items(items: list[Scored]) -> list[Item]:
    return [Item(item, score) for item, score in items]


def _origin(snapshot: Snapshot) -> dict[str, Any]:
    return {"snapshot_age_s": max(0.0, time.time() - snapshot.taken_s), "events_learnt": snapshot.num_learnt}
