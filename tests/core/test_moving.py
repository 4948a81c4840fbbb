"""Words moved within an array end up as if they had been copied out first."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from stream.core.moving import move_words

LENGTH = 40


@njit
def move(words: Any, to: int, source: int, num: int) -> None:
    move_words(words, to, source, num)


@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.uint8, np.int64])
@given(places=st.tuples(st.integers(0, LENGTH), st.integers(0, LENGTH)), num=st.integers(0, LENGTH))
def test_words_are_moved_whichever_way_the_ranges_overlap(dtype: Any, places: tuple[int, int], num: int) -> None:
    to, source = places
    num = min(num, LENGTH - max(places))
    words = np.arange(1, LENGTH + 1, dtype=dtype)
    expected = words.copy()
    expected[to : to + num] = words[source : source + num].copy()
    move(words, to, source, num)
    np.testing.assert_array_equal(words, expected)
