"""Modules are imported to look for examples in them; those of libraries that are not installed are left out."""

from importlib.util import find_spec

collect_ignore = [
    module
    for module, library in (("fbgemm_tables.py", "fbgemm_gpu"), ("vowpal.py", "vowpalwabbit"))
    if find_spec(library) is None
]
