"""Before any test imports numba, ``stream`` says where kernels are cached; all tests run them from there.

Where tests have several workers, this is imported before they start, so that they do not compile the same all at once.
"""

from stream.compilation import fill_kernel_cache
from tests.integration.broker import broker as broker

fill_kernel_cache()
