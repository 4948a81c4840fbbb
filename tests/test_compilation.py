"""Compiled kernels are kept by what their sources say, where they can be kept, and are never older than those."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stream import compilation
from stream.compilation import choose_kernel_cache

ROOT = Path(compilation.__file__).parents[1]
KERNEL_FILE = "stream/core/event.py"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages' sources, alone in a folder."""
    top = tmp_path_factory.mktemp("original")
    for name in ("agents", "simulators", "stream"):
        shutil.copytree(ROOT / name, top / name, ignore=shutil.ignore_patterns("__pycache__"))
    return top


@pytest.fixture
def tree(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of one's own that takes itself for the package, and a user's cache folder beside it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(original, tmp_path / "tree")
    return tmp_path / "tree"


def chosen(tree: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the package in ``tree`` chooses in a process where none is chosen yet."""
    monkeypatch.setattr(compilation, "__file__", str(tree / "stream" / "compilation.py"))
    # First set, so that what is chosen here is undone after the test.
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    choose_kernel_cache()
    return Path(os.environ["NUMBA_CACHE_DIR"])


def test_the_cache_lies_in_the_package_under_a_digest_of_its_sources(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = chosen(tree, monkeypatch)
    assert folder.parent == tree / "stream" / "__pycache__"
    assert folder.name.startswith("kernels-")
    assert folder.is_dir()
    assert chosen(tree, monkeypatch) == folder


@pytest.mark.parametrize("path", [KERNEL_FILE, "simulators/ties.py", "stream/core/numeric.py"])
def test_a_change_in_any_file_of_kernels_leads_to_another_folder(
    path: str, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = chosen(tree, monkeypatch)
    source = (tree / path).read_text()
    (tree / path).write_text(source + "\n# A change.\n")
    assert chosen(tree, monkeypatch) != before
    (tree / path).write_text(source)
    assert chosen(tree, monkeypatch) == before


def test_a_new_or_renamed_file_of_kernels_leads_to_another_folder(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [chosen(tree, monkeypatch)]
    added = tree / "agents" / "added.py"
    added.write_text("from numba import njit\n")
    folders.append(chosen(tree, monkeypatch))
    added.rename(tree / "agents" / "renamed.py")
    folders.append(chosen(tree, monkeypatch))
    assert len(set(folders)) == 3


def test_a_change_elsewhere_leaves_the_folder_as_it_is(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = chosen(tree, monkeypatch)
    (tree / "stream" / "errors.py").write_text('"""No kernels in here."""\n')
    for neighbour in ("tests", "numba"):
        (tree / neighbour).mkdir()
        (tree / neighbour / "kernels.py").write_text("from numba import njit\n")
    assert chosen(tree, monkeypatch) == before


def test_the_same_sources_elsewhere_have_the_same_digest(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tree, tmp_path / "elsewhere")
    assert chosen(tmp_path / "elsewhere", monkeypatch).name == chosen(tree, monkeypatch).name


def test_a_folder_that_someone_chose_is_left_alone(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "__file__", str(tree / "stream" / "compilation.py"))
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/somewhere/else")
    choose_kernel_cache()
    assert os.environ["NUMBA_CACHE_DIR"] == "/somewhere/else"
    assert not (tree / "stream" / "__pycache__").exists()


def make_unwritable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse to make anything under ``folder``, whoever asks: permissions would not stop an administrator."""
    make = Path.mkdir

    def refuse(self: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        if self.is_relative_to(folder):
            raise PermissionError(13, "Permission denied", str(self))
        make(self, mode, parents, exist_ok)

    monkeypatch.setattr(Path, "mkdir", refuse)


def test_a_package_that_cannot_be_written_uses_the_users_cache_folder(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = chosen(tree, monkeypatch).name
    make_unwritable(tree, monkeypatch)
    assert chosen(tree, monkeypatch) == tmp_path / "cache" / "scall-stream" / name
    assert (tmp_path / "cache" / "scall-stream" / name).is_dir()


def test_a_folder_that_is_there_but_not_for_us_is_passed_over(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen(tree, monkeypatch)
    monkeypatch.setattr(os, "access", lambda path, _mode: not Path(path).is_relative_to(tree))
    assert chosen(tree, monkeypatch).is_relative_to(tmp_path / "cache")


def test_without_a_setting_the_users_cache_folder_is_in_the_home_folder(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_unwritable(tree, monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert chosen(tree, monkeypatch).parent == tmp_path / "home" / ".cache" / "scall-stream"


def test_where_nothing_can_be_written_the_compiler_is_left_to_itself(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_unwritable(tmp_path, monkeypatch)
    with pytest.raises(KeyError, match="NUMBA_CACHE_DIR"):
        chosen(tree, monkeypatch)


INNER = "from numba import njit\n\n@njit(cache=True)\ndef inner(x):\n    return x + {}\n"
OUTER = (
    "from numba import njit\nfrom stream.inner import inner\n\n@njit(cache=True)\ndef outer(x):\n    return inner(x)\n"
)


def test_a_kernel_runs_anew_when_one_that_it_calls_from_another_file_has_changed(tmp_path: Path) -> None:
    package = tmp_path / "stream"
    package.mkdir()
    for name in ("__init__.py", "compilation.py"):
        shutil.copy(ROOT / "stream" / name, package)
    (package / "outer.py").write_text(OUTER)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA")}
    results = []
    for addend in (1, 100):
        (package / "inner.py").write_text(INNER.format(addend))
        code = "from stream.outer import outer; print(outer(1))"
        # An environment's own packages come behind the folder in which it runs.
        run = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        results.append(int(run.stdout))
    assert results == [2, 101]
    assert len(list((package / "__pycache__").glob("kernels-*/**/*.nbc"))) >= 2
