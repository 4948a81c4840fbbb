"""What happens to an event: read, test, learn, resize, checkpoint."""

from stream.compilation import choose_kernel_cache

choose_kernel_cache()
