"""A copy shows the reader what was written when it was lent, and there are never more than two."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream.adapters.http import copies
from stream.adapters.http.copies import NUM_COPIES, Copies, Copy, open_copy, plan_of
from stream.core.memory import SLOT

Arrays = dict[str, NDArray[Any]]


def a_model(length: int, value: int) -> Arrays:
    """Return arrays like a model's: records, numbers, an empty one, one that is not contiguous."""
    slots = np.zeros(length, SLOT)
    slots["key"], slots["slow"] = value, value / 2
    words = np.arange(3 * length * 2, dtype=np.float32).reshape(-1, 2) + value
    return {"slots": slots, "seen": np.zeros((0, 8), np.uint16), "words": words[:, 0], "none": np.zeros(0, np.int32)}


def are_equal(left: Arrays, right: Arrays) -> bool:
    return list(left) == list(right) and all(
        left[name].dtype == right[name].dtype
        and left[name].shape == right[name].shape
        and left[name].tobytes() == right[name].tobytes()
        for name in left
    )


@given(length=st.integers(0, 40), value=st.integers(0, 1000))
@settings(derandomize=True, deadline=None, max_examples=30)
def test_the_reader_sees_the_arrays_as_they_were_written(length: int, value: int) -> None:
    model = a_model(length, value)
    copy = Copy(plan_of(model))
    copy.write(model)
    seen = open_copy(copy.file, copy.plan)
    assert are_equal(seen, model)
    copy.close()
    # What is mapped stays, whatever becomes of the writer.
    assert are_equal(seen, model)


def test_the_reader_cannot_write() -> None:
    model = a_model(4, 1)
    copy = Copy(plan_of(model))
    assert not any(array.flags.writeable for array in open_copy(copy.file, copy.plan).values())
    copy.close()


class Counted(Copy):
    """A copy that is counted while it is there."""

    alive = 0
    most = 0

    def __init__(self, plan: copies.Plan) -> None:
        super().__init__(plan)
        Counted.alive += 1
        Counted.most = max(Counted.most, Counted.alive)

    def close(self) -> None:
        super().close()
        Counted.alive -= 1


steps = st.lists(st.one_of(st.integers(1, 3), st.just(0)), max_size=40)
"""Lend a model of so many thirds; 0: the copy lent first comes back."""


@given(steps=steps)
@settings(derandomize=True, deadline=None, max_examples=100)
def test_what_is_lent_does_not_change_and_nothing_is_lent_twice(steps: list[int]) -> None:
    lender, lent = Copies(), list[tuple[int, Arrays, Arrays]]()
    Counted.alive = Counted.most = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copies, "Copy", Counted)
        for value, length in enumerate(steps):
            if length == 0:
                if lent:
                    lender.take_back(lent.pop(0)[0])
                continue
            model = a_model(10 * length, value)
            given_out = lender.lend(model)
            assert (given_out is None) == (len(lent) == NUM_COPIES)
            if given_out is not None:
                number, copy = given_out
                assert number not in [other for other, _, _ in lent]
                lent.append((number, open_copy(copy.file, copy.plan), model))
            assert all(are_equal(seen, model) for _, seen, model in lent)
            assert lender.num_bytes == 2 * copies.length_of(plan_of(model))
        lender.close()
    assert Counted.alive == 0
    assert Counted.most <= NUM_COPIES


def test_copies_of_old_shapes_go_before_new_ones_come() -> None:
    lender = Copies()
    first = lender.lend(a_model(10, 1))
    second = lender.lend(a_model(10, 2))
    assert first is not None
    assert second is not None
    assert lender.lend(a_model(20, 3)) is None
    lender.take_back(first[0])
    third = lender.lend(a_model(20, 3))
    assert third is not None
    assert lender.lend(a_model(20, 4)) is None
    lender.take_back(second[0])
    assert lender.lend(a_model(20, 5)) is not None
    lender.close()


def test_room_can_be_made_beforehand() -> None:
    lender, model = Copies(), a_model(10, 1)
    lender.reserve(model)
    assert lender.num_bytes == 2 * copies.length_of(plan_of(model))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copies, "Copy", None)
        assert [lender.lend(model) is not None for _ in range(3)] == [True, True, False]
    lender.close()


def test_once_the_borrower_is_gone_all_can_be_lent_again() -> None:
    lender = Copies()
    for _ in range(3):
        assert [lender.lend(a_model(5, 1)) is not None for _ in range(NUM_COPIES + 1)] == [True, True, False]
        lender.take_all_back()
    lender.close()


def test_a_machine_without_memory_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    lender, model = Copies(), a_model(5, 1)
    monkeypatch.setattr(copies.os, "posix_fallocate", refuse)
    with pytest.raises(OSError, match="No space"):
        lender.lend(model)
    monkeypatch.undo()
    assert lender.lend(model) is not None
    lender.close()
