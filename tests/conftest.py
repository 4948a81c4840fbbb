"""Before any test module can import numba, ``stream`` says where kernels are cached."""

import stream  # noqa: F401
