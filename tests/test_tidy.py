"""Style as a test: which module may import which, how long things grow, what they are called, what they say.

Each rule is a function from sources to complaints, so that a bad snippet can show that it complains.
"""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("stream", "agents", "simulators")
Sources = dict[str, str]
"""Module name, or path from the top level, -> text."""

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60
LONG_FUNCTION_LINES = 50
MAX_LONG_SHARE = 0.07
VAGUE_WORDS = {"util", "utils", "helper", "helpers", "common", "manager", "managers"}

COMPOSITION_ROOT = ("stream.__main__", "stream.commands")
CORE_LIBRARIES = {"numpy", "numba", "msgspec", "river"}
# The world: what the core could use to see it, or to differ from one run to the next.
WORLDLY = {
    "io",
    "logging",
    "os",
    "pathlib",
    "random",
    "secrets",
    "shutil",
    "socket",
    "subprocess",
    "tempfile",
    "time",
}
WORLDLY_CALLS = {"open", "input"}


def modules() -> Sources:
    """Return the packages' modules by dotted name; a package is named as its ``__init__``'s folder."""
    paths = (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))
    return {module_name(path.relative_to(ROOT)): path.read_text() for path in paths}


def module_name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def texts() -> Sources:
    """Return the text files of the project's own folders and of the top level by path."""
    folders = [ROOT / name for name in (*PACKAGES, "tests", "docker", ".ci")]
    paths = [*ROOT.glob("*"), *(path for folder in folders for path in folder.rglob("*"))]
    contents = {p: p.read_bytes() for p in paths if p.is_file() and p.parent.name != "__pycache__"}
    return {
        path.relative_to(ROOT).as_posix(): content.decode(errors="replace")
        for path, content in contents.items()
        if b"\0" not in content
    }


@cache
def parse(source: str) -> ast.Module:
    return ast.parse(source)


# Imports


def imports_of(name: str, sources: Sources) -> Iterator[str]:
    """Yield what a module imports, anywhere in it: one of ours by its full name, another as it is written."""
    for node in ast.walk(parse(sources[name])):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                is_package = any(other.startswith(f"{name}.") for other in sources)
                parents = [*name.split("."), "__init__"] if is_package else name.split(".")
                origin = ".".join([*parents[: -node.level], *filter(None, [node.module])])
            for alias in node.names:
                full = f"{origin}.{alias.name}"
                yield full if full in sources else origin


def is_in(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def may_import(importer: str, imported: str) -> bool:
    ours = is_in(imported, *PACKAGES)
    if is_in(importer, *COMPOSITION_ROOT):
        return True
    if is_in(imported, *COMPOSITION_ROOT):
        return False
    if is_in(importer, "stream.core"):
        top = imported.partition(".")[0]
        library = top in CORE_LIBRARIES or (top in sys.stdlib_module_names and top not in WORLDLY)
        return is_in(imported, "stream.core", "stream.errors") if ours else library
    if is_in(importer, "stream.adapters"):
        return not is_in(imported, "simulators", "agents", "stream.pipeline")
    if is_in(importer, "stream"):
        return not is_in(imported, "simulators", "agents", "stream.adapters")
    if is_in(importer, "simulators"):
        return not is_in(imported, "agents")
    arrays = ("stream.core.sizes", "stream.core.observation", "stream.core.action", "stream.errors")
    return not ours or is_in(imported, "agents", *arrays)


def wrong_imports(sources: Sources) -> list[str]:
    pairs = ((name, imported) for name in sources for imported in imports_of(name, sources))
    return [f"{name} imports {imported}" for name, imported in pairs if not may_import(name, imported)]


def import_cycles(sources: Sources) -> list[str]:
    graph = {name: {other for other in imports_of(name, sources) if other in sources} for name in sources}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" <- ".join(error.args[1])]
    return []


# Lengths and names


def functions_of(source: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (n for n in ast.walk(parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def long_modules(sources: Sources) -> list[str]:
    lengths = {name: len(source.splitlines()) for name, source in sources.items()}
    return [f"{name} has {n} lines" for name, n in lengths.items() if n > MAX_MODULE_LINES]


def long_functions(sources: Sources) -> list[str]:
    lengths = [
        (f"{name}:{function.lineno} {function.name}", (function.end_lineno or 0) - function.lineno + 1)
        for name, source in sources.items()
        for function in functions_of(source)
    ]
    complaints = [f"{name} has {length} lines" for name, length in lengths if length > MAX_FUNCTION_LINES]
    long = [name for name, length in lengths if length > LONG_FUNCTION_LINES]
    if len(long) > MAX_LONG_SHARE * len(lengths):
        complaints.append(f"{len(long)} of {len(lengths)} functions are long: {', '.join(long)}")
    return complaints


def vague_names(sources: Sources) -> list[str]:
    return [name for name in sources if VAGUE_WORDS & set(re.split(r"[._/]", name.lower()))]


# Contents


def missing_docstrings(sources: Sources) -> list[str]:
    complaints = [name for name, source in sources.items() if not ast.get_docstring(parse(source))]
    for name, source in sources.items():
        complaints += [f"{name}.{thing}" for thing in undocumented(parse(source))]
    return complaints


def undocumented(parent: ast.Module | ast.ClassDef) -> Iterator[str]:
    for node in parent.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name[0] != "_":
            if not ast.get_docstring(node):
                yield node.name
            if isinstance(node, ast.ClassDef):
                yield from (f"{node.name}.{thing}" for thing in undocumented(node))


def wrong_calls(sources: Sources) -> list[str]:
    """Complain about ``print`` outside the command line and the adapters, and about files in the core."""
    complaints = []
    for name, source in sources.items():
        forbidden = set() if is_in(name, *COMPOSITION_ROOT, "stream.adapters") else {"print"}
        forbidden |= WORLDLY_CALLS if is_in(name, "stream.core") else set()
        calls = [node for node in ast.walk(parse(source)) if isinstance(node, ast.Call)]
        named = [(call.lineno, call.func.id) for call in calls if isinstance(call.func, ast.Name)]
        complaints += [f"{name}:{line} calls {called}" for line, called in named if called in forbidden]
    return complaints


def machine_paths(sources: Sources) -> list[str]:
    """Complain about paths of one machine, and about the data beside the checkout outside tests."""
    # In pieces, so that this file does not complain about itself.
    anywhere = ["/" + folder + "/" for folder in ("work", "root")]
    data = "../" + "shared"
    complaints = [f"{path} names {p}" for path, text in sources.items() for p in anywhere if p in text]
    known = ("Makefile", "README.md", "tests/")
    elsewhere = {path: text for path, text in sources.items() if not path.startswith(known)}
    return complaints + [f"{path} names {data}" for path, text in elsewhere.items() if data in text]


# The project


def test_imports_point_one_way() -> None:
    assert wrong_imports(modules()) == []


def test_no_imports_go_round() -> None:
    assert import_cycles(modules()) == []


def test_modules_stay_short() -> None:
    assert long_modules(modules()) == []


def test_functions_stay_short() -> None:
    assert long_functions(modules()) == []


def test_names_say_something() -> None:
    assert vague_names(modules() | texts()) == []


def test_everything_public_has_a_docstring() -> None:
    assert missing_docstrings(modules()) == []


def test_only_the_command_line_and_the_adapters_print() -> None:
    assert wrong_calls(modules()) == []


def test_no_file_names_a_path_of_one_machine() -> None:
    assert machine_paths(texts()) == []


def test_the_project_is_looked_at() -> None:
    assert {"stream", "stream.core.event", "agents", "simulators"} <= modules().keys()
    assert {"pyproject.toml", "stream/errors.py", "tests/test_tidy.py"} <= texts().keys()


# The rules themselves: each can fail, and leaves alone what is right


def complains_about(name: str, source: str, *others: str) -> bool:
    return bool(wrong_imports({name: source} | dict.fromkeys(others, "")))


def test_the_core_may_not_see_the_world() -> None:
    for library in ("time", "os.path", "random", "logging", "pathlib", "io", "scipy", "torch"):
        assert complains_about("stream.core.bad", f"import {library}")
        assert complains_about("stream.core.bad", f"def late():\n    from {library} import thing")
    for library in ("math", "numpy.typing", "numba", "msgspec", "river.drift", "collections.abc"):
        assert not complains_about("stream.core.good", f"import {library}")


def test_the_core_may_import_only_itself_and_the_errors() -> None:
    assert complains_about("stream.core.bad", "from stream.ports import Source")
    assert complains_about("stream.core.bad", "from stream import ports", "stream", "stream.ports")
    assert complains_about("stream.core.bad", "from ..ports import Source")
    assert complains_about("stream.core", "from ..ports import Source", "stream.core.event")
    assert not complains_about("stream.core.good", "from stream.errors import UsageError")
    assert not complains_about("stream.core.good", "from . import event", "stream.core.event")
    assert not complains_about("stream.core", "from .event import USER", "stream.core.event")


def test_the_packages_may_not_import_against_the_arrows() -> None:
    assert complains_about("stream.pipeline", "import stream.adapters.files")
    assert complains_about("stream.adapters.bad", "import simulators")
    assert complains_about("stream.adapters.bad", "from agents.sac import Agent")
    assert complains_about("simulators.bad", "import agents")
    assert complains_about("simulators.bad", "from stream import __main__", "stream.__main__")
    assert complains_about("agents.bad", "from stream.core.event import USER")
    assert complains_about("agents.bad", "from stream.core import event", "stream.core", "stream.core.event")
    assert not complains_about("stream.adapters.good", "from stream.ports import Source")
    assert not complains_about("simulators.good", "from stream.adapters.files import FileSource")
    assert not complains_about("agents.good", "import numpy, torch\nfrom stream.core.sizes import Curve")
    assert not complains_about("agents.good", "from stream.core import sizes", "stream.core.sizes")
    assert not complains_about("stream.__main__", "import agents, simulators, stream.adapters.files")


def test_an_import_cycle_is_found() -> None:
    ring = {"a.x": "import a.y", "a.y": "def late():\n    from a import z", "a.z": "from .x import thing"}
    assert import_cycles(ring) == ["a.x <- a.z <- a.y <- a.x"]
    assert import_cycles(ring | {"a.z": ""}) == []


def function_of(num_lines: int) -> str:
    return "\n".join(["def f():", *["    pass"] * (num_lines - 1)])


def test_long_modules_and_functions_are_found() -> None:
    assert long_modules({"bad": "\n" * 401}) == ["bad has 401 lines"]
    assert long_modules({"good": "\n" * 400}) == []
    many = {f"short{i}": function_of(2) for i in range(20)}
    assert long_functions(many | {"bad": function_of(61)}) == ["bad:1 f has 61 lines"]
    assert long_functions(many | {"long": function_of(60)}) == []
    assert long_functions({"long": function_of(51)}) == ["1 of 1 functions are long: long:1 f"]
    assert long_functions({"good": function_of(50)}) == []


def test_vague_names_are_found() -> None:
    bad = ["stream.core.utils", "agents.file_helpers", "tests/common.py", "stream.manager"]
    assert vague_names(dict.fromkeys(bad, "")) == bad
    assert vague_names({"stream.core.commonest": "", "stream.ports": ""}) == []


def test_missing_docstrings_are_found() -> None:
    methods = "class A:\n    def b(self): pass\n    def _c(self): pass\n"
    bad = methods + "def d(): pass\nasync def e(): pass\nclass _F: pass"
    assert missing_docstrings({"m": bad}) == ["m", "m.A", "m.A.b", "m.d", "m.e"]
    assert missing_docstrings({"m": '"""M."""\ndef d():\n    """D."""\n    def inner(): pass'}) == []


def test_wrong_calls_are_found() -> None:
    assert wrong_calls({"agents.sac": "print(1)"}) == ["agents.sac:1 calls print"]
    assert wrong_calls({"stream.core.bad": "\nopen('x')"}) == ["stream.core.bad:2 calls open"]
    allowed = {"stream.__main__": "print(1)", "stream.adapters.report": "print(open('x'))"}
    assert wrong_calls(allowed | {"stream.core.good": '"""Does not print(1)."""\nself.open()'}) == []


def test_machine_paths_are_found() -> None:
    home, data = "/" + "root/x", "../" + "shared/data"
    assert machine_paths({"stream/bad.py": home}) == ["stream/bad.py names /" + "root/"]
    assert machine_paths({"tests/test_bad.py": "/" + "work/x"}) == ["tests/test_bad.py names /" + "work/"]
    assert machine_paths({"stream/bad.py": data}) == ["stream/bad.py names ../" + "shared"]
    assert machine_paths(dict.fromkeys(("Makefile", "README.md", "tests/test_good.py"), data)) == []
