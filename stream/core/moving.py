"""Words moved within an array by the C library's ``memmove``, in kernels: the compiler cannot know how ranges overlap.

A loop over the words would be correct in one direction only, and never vector code.
"""

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def move_words(typing: Any, words: Any, to: Any, source: Any, num: Any) -> Any:
    """Move ``num`` >= 0 items of a contiguous array from ``source`` on to ``to`` on; the ranges may overlap."""
    del typing, to, source, num

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, values[0])
        there, here = (builder.gep(array.data, [place]) for place in values[1:3])
        cgutils.raw_memmove(builder, there, here, values[3], context.get_abi_sizeof(array.data.type.pointee))
        return context.get_dummy_value()

    return types.void(words, types.intp, types.intp, types.intp), emit
