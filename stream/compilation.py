"""Where compiled kernels are kept.

Numba recompiles a kernel when the file it stands in changes, but does not notice a change in a kernel that it calls
from another file: after an edit, or an upgrade, it would run old code. So the cache folder is named after a digest of
every source file that holds kernels.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

_PACKAGES: Final = ("agents", "simulators", "stream")


def choose_kernel_cache() -> None:
    """Point numba to the cache folder of exactly these sources; must run before any kernel is imported.

    It lies in the package's ``__pycache__``, or, where that cannot be written, in the user's cache folder. A
    ``NUMBA_CACHE_DIR`` in the environment is left alone.
    """
    if "NUMBA_CACHE_DIR" in os.environ:
        return
    package = Path(__file__).parent
    digest = hashlib.blake2b(digest_size=8)
    # Folder by folder: once installed, these packages have thousands of files beside them.
    for path in (path for name in _PACKAGES for path in sorted((package.parent / name).rglob("*.py"))):
        source = path.read_bytes()
        if b"numba" in source:
            digest.update(path.name.encode() + source)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scall-stream"
    for folder in (package / "__pycache__", home):
        target = folder / f"kernels-{digest.hexdigest()}"
        try:
            target.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(target, os.W_OK):
            os.environ["NUMBA_CACHE_DIR"] = str(target)
            if "numba" in sys.modules:
                # It has read its environment already.
                sys.modules["numba"].config.CACHE_DIR = str(target)
            return


def fill_kernel_cache() -> None:
    """Compile the kernels in a process of its own, unless that was done before.

    Code that numba has just compiled may round a last bit differently than the same code from its cache. So a process
    that learns takes its kernels from the cache, always: what is resumed tomorrow must not differ from what ran today.
    """
    folder = os.environ.get("NUMBA_CACHE_DIR")
    if folder is None or (Path(folder) / "filled").exists():
        return
    code = "from stream.commands.assembly import compile_kernels; compile_kernels()"
    subprocess.run([sys.executable, "-c", code], check=True)
    (Path(folder) / "filled").touch()
