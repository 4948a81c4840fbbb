"""Test workers that run at once take turns at what only one process may do."""

import os
from pathlib import Path
from tempfile import gettempdir

from filelock import FileLock


def turn(what: str) -> FileLock:
    """Return a lock that all test workers of one user share."""
    return FileLock(Path(gettempdir()) / f"scall-tests-{os.getuid()}-{what}.lock")
