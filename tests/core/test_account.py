"""Sums since the start and since the window opened, against sums over a list of what happened."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from stream.core.account import Account
from stream.core.event import Origin, Rejection

quick = settings(derandomize=True, deadline=None, max_examples=100)
COUNTS = ("events", "learnt", "late", "violations", "resizes", "evicted_users", "evicted_items")
SECONDS = ("read", "train", "eval", "resize", "checkpoint")

counted = st.tuples(st.sampled_from(COUNTS), st.integers(0, 10**6))
# Quarters of seconds, so that sums come out the same in any order.
spent = st.tuples(st.sampled_from(SECONDS), st.integers(0, 1000).map(lambda quarters: quarters / 4))
happenings = st.lists(counted | spent, max_size=20)
Happening = tuple[str, int | float]


def enter(account: Account, happened: list[Happening]) -> None:
    for name, amount in happened:
        if name in SECONDS:
            account.spend(name, amount)
        else:
            account.count(name, int(amount))


def total(happened: list[Happening], *names: str) -> float:
    return sum(amount for name, amount in happened if name in names)


def rejection(reason: str) -> Rejection:
    return Rejection(0, 7, Origin("line 8"), reason, "")


@quick
@given(windows=st.lists(happenings, min_size=1, max_size=4))
def test_the_account_is_the_sum_of_what_happened_since_the_start_and_in_the_window(
    windows: list[list[Happening]],
) -> None:
    account = Account()
    everything: list[Happening] = []
    for happened in windows:
        account.open_window()
        enter(account, happened)
        everything += happened
    last = windows[-1]
    for counts, so_far in ((account.counts(), everything), (account.window_counts(), last)):
        assert counts.events == total(so_far, "events")
        assert counts.learnt == total(so_far, "learnt")
        assert counts.late == total(so_far, "late")
        assert counts.violations == total(so_far, "violations")
        assert (counts.evicted_users, counts.evicted_items) == (
            total(so_far, "evicted_users"),
            total(so_far, "evicted_items"),
        )
        assert counts.evictions == total(so_far, "evicted_users", "evicted_items")
    assert account.window_count("resizes") == total(last, "resizes")
    assert [account.seconds(name) for name in SECONDS] == [total(everything, name) for name in SECONDS]
    assert [account.window_seconds(name) for name in SECONDS] == [total(last, name) for name in SECONDS]


def test_a_dead_letter_is_an_event_with_a_reason() -> None:
    account = Account()
    account.count("events", 5)
    account.count("learnt", 5)
    account.open_window()
    for reason in ("late event", "missing item id", "late event"):
        account.reject(rejection(reason))
    counts, of_window = account.counts(), account.window_counts()
    assert (counts.events, counts.learnt, counts.dead_letters) == (8, 5, 3)
    assert (of_window.events, of_window.learnt, of_window.dead_letters) == (3, 0, 3)
    assert account.reasons == {"late event": 2, "missing item id": 1}


def test_a_count_kept_elsewhere_is_noted_by_its_total() -> None:
    account = Account()
    account.note("evicted_items", 40)
    account.note("drift_alarms", 1)
    account.open_window()
    account.note("evicted_items", 45)
    account.note("drift_alarms", 3)
    assert (account.counts().evictions, account.counts().drift_alarms) == (45, 3)
    assert (account.window_counts().evictions, account.window_counts().drift_alarms) == (5, 2)


@quick
@given(before=happenings, within=happenings, after=happenings)
def test_a_restored_account_goes_on_where_it_was(
    before: list[Happening], within: list[Happening], after: list[Happening]
) -> None:
    account, restored = Account(), Account()
    enter(account, before)
    account.reject(rejection("unreadable"))
    account.open_window()
    enter(account, within)
    enter(restored, after)
    restored.restore(json.loads(json.dumps(account.state())))
    for each in (account, restored):
        enter(each, after)
        each.reject(rejection("unreadable"))
    assert restored.state() == account.state()
    assert restored.window_counts() == account.window_counts()


def test_a_state_does_not_change_with_the_account_it_was_taken_from() -> None:
    account = Account()
    state = account.state()
    account.reject(rejection("unreadable"))
    account.spend("train", 1.0)
    account.open_window()
    assert state == Account().state()
    restored = Account()
    restored.restore(state)
    restored.reject(rejection("unreadable"))
    restored.count("learnt", 1)
    assert state == Account().state()
