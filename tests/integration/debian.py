"""Programs that come as Debian packages: found, installed where that is allowed, or a reason to skip."""

import os
import shutil
import subprocess

import pytest


def program_or_skip(name: str, package: str) -> str:
    """Return the path of a program."""
    path = shutil.which(name)
    if path is None and os.geteuid() == 0 and shutil.which("apt-get"):
        install = ("apt-get", "install", "-y", "--no-install-recommends", package)
        subprocess.run(install, capture_output=True, timeout=240, check=False)
        path = shutil.which(name)
    if path is None:
        pytest.skip(f"needs {name}: apt-get install {package}")
    return path
