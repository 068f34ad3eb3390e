"""The house (design, "The house"): what may import what, and what is shipped."""

from __future__ import annotations

import ast
import importlib
import os
import pwd
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from attack.mutants import MUTANTS

HOUSE = Path(__file__).parents[1]
ROOMS = ("configs", "storage", "pipeline", "loaders", "holdfast")
MODULES = sorted(path for room in ROOMS for path in (HOUSE / room).rglob("*.py"))
ALLOWED = {
    "configs": {"configs"},
    "storage": {"configs", "storage"},
    "pipeline": {"configs", "storage", "pipeline"},
    "loaders": {"configs", "storage", "loaders"},
    "holdfast": set(ROOMS),
}


def _room(path: Path) -> str:
    return path.relative_to(HOUSE).parts[0]


def _package(path: Path) -> list[str]:
    """The dotted package that a module's relative imports start from."""
    parts = list(path.relative_to(HOUSE).parts[:-1])
    return parts if parts[0] == "holdfast" else ["holdfast", *parts]


def _imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it, as an absolute name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = _package(path)
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            yield name
            if node.level and not node.module:
                yield from (f"{name}.{alias.name}" for alias in node.names)


def _ours(name: str) -> str | None:
    parts = name.split(".")
    if parts[0] != "holdfast":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else "holdfast"


def test_imports_point_down() -> None:
    wrong = [
        f"{path.relative_to(HOUSE)} imports {name}"
        for path in MODULES
        for name in _imports(path)
        if (room := _ours(name)) is not None and room not in ALLOWED[_room(path)]
    ]
    assert wrong == []


def test_no_module_imports_a_room_as_if_it_were_at_the_top() -> None:
    bare = set(ROOMS) - {"holdfast"}
    assert [str(path) for path in MODULES for name in _imports(path) if name.split(".")[0] in bare] == []


def test_only_the_loaders_and_the_demo_import_torch() -> None:
    found = {path.relative_to(HOUSE) for path in MODULES if any(n.split(".")[0] == "torch" for n in _imports(path))}
    assert found
    assert {path for path in found if path.parts[0] != "loaders" and path.parts[:2] != ("holdfast", "demo")} == set()


def test_nobody_imports_pandas() -> None:
    assert [path for path in MODULES if any(n.split(".")[0] == "pandas" for n in _imports(path))] == []


def _project() -> dict[str, object]:
    document = tomllib.loads((HOUSE / "pyproject.toml").read_text())
    found: dict[str, object] = document["tool"]["setuptools"]
    return found


def test_every_folder_of_code_is_a_listed_package() -> None:
    folders = {path.parent for path in MODULES}
    assert all((folder / "__init__.py").exists() for folder in folders)
    listed = _project()["packages"]
    assert isinstance(listed, list)
    assert len(listed) == len(set(listed))
    assert set(listed) == {".".join(_package(folder / "__init__.py")) for folder in folders}


def test_the_types_and_the_settings_are_shipped() -> None:
    for room in ROOMS:
        assert (HOUSE / room / "py.typed").is_file()
    patterns = _project()["package-data"]
    assert isinstance(patterns, dict)
    assert {"py.typed", "*.toml"} <= set(patterns["*"])


def test_nothing_leaks_into_the_global_namespace(tmp_path: Path) -> None:
    code = """
import sys, importlib.util
for name in ("storage", "configs", "pipeline", "loaders"):
    assert importlib.util.find_spec(name) is None, name
import holdfast.storage, holdfast.configs, holdfast.pipeline, holdfast.storage.blocks.disk
for name in ("storage", "configs", "pipeline", "loaders", "torch"):
    assert name not in sys.modules, name
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_public_name_can_be_imported() -> None:
    import holdfast

    for name in holdfast.__all__:
        assert getattr(holdfast, name).__doc__, name
    assert set(holdfast.__all__) <= set(dir(holdfast))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = holdfast.nonsense


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_a_module_is_short_and_says_what_it_is(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring
    assert docstring.splitlines()[0].strip()


def test_every_module_can_be_imported() -> None:
    for path in MODULES:
        if path.name != "__main__.py":
            importlib.import_module(".".join([*_package(path), *([path.stem] if path.stem != "__init__" else [])]))


def test_no_file_of_the_repository_names_this_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=HOUSE, capture_output=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    # where this checkout lies, and this user's own folder; /home/u is an example
    places = {str(HOUSE), pwd.getpwuid(os.getuid()).pw_dir}
    machine = re.compile("|".join(re.escape(place) + r"(?=/\w)" for place in places if len(place) > 1).encode())
    wrong = []
    for name in filter(None, listed.stdout.split(b"\0")):
        path = HOUSE / name.decode()
        if path.is_file() and path != Path(__file__):
            wrong += [
                f"{name.decode()}:{n}"
                for n, line in enumerate(path.read_bytes().splitlines(), 1)
                if machine.search(line)
            ]
    assert wrong == []


def test_every_mutant_finds_the_check_that_it_takes_out() -> None:
    lost = [mutant.name for mutant in MUTANTS if (HOUSE / mutant.file).read_text().count(mutant.before) != 1]
    assert lost == [], "tests/attack/mutants.py has to follow the code"
