"""Programs that come as Debian packages: found, installed where that is allowed, or a reason to skip."""

import os
import shutil
import subprocess
from contextlib import suppress

import pytest

from tests.integration.turns import turn

INSTALL_S = 240


def program_or_skip(name: str, package: str) -> str:
    """Return the path of a program."""
    path = shutil.which(name)
    if path is None and os.geteuid() == 0 and shutil.which("apt-get"):
        with turn("apt"):
            path = shutil.which(name)
            if path is None:
                _install(package)
                path = shutil.which(name)
    if path is None:
        pytest.skip(f"needs {name}: apt-get install {package}")
    return path


def _install(package: str) -> None:
    """Try to install a package; a fresh machine may have no list of packages yet."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    install = ("apt-get", "install", "-y", "--no-install-recommends", package)
    with suppress(subprocess.TimeoutExpired):
        if subprocess.run(install, env=environment, capture_output=True, timeout=INSTALL_S, check=False).returncode:
            subprocess.run(("apt-get", "update"), env=environment, capture_output=True, timeout=INSTALL_S, check=False)
            subprocess.run(install, env=environment, capture_output=True, timeout=INSTALL_S, check=False)
