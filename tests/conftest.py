"""Before any test imports numba, ``stream`` says where kernels are cached; all tests run them from there."""

from stream.compilation import fill_kernel_cache
from tests.integration.broker import broker as broker

fill_kernel_cache()
