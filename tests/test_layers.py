"""Imports go down only: between rooms, and between the modules inside each; plug-ins never import each other."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import triptych

ROOT = Path(triptych.__file__).parent
# fmt: off
ROOMS = [
    "errors", "cancel", "plugins", "settings", "options", "units", "shell", "prompt", "families", "files", "scores",
    "records", "base", "data", "patching", "sampling", "methods", "exchange", "mixing", "training", "metrics",
    "verdict", "report", "study", "dilution", "app", "cli", "__main__",
]
# fmt: on
FLOOR = {name: floor for floor, name in enumerate(ROOMS)}
PLUGINS = ("methods", "metrics", "metrics/encoders", "exchange/formats", "families")
KINDS = {"Method", "Metric", "Encoder", "Format"}  # their base classes

Name = tuple[str, ...]


def name_of(path: Path) -> Name:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


MODULES = {name_of(path): path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py"}


def imports(path: Path) -> set[Name]:
    """The modules of triptych that a file imports, also inside functions and for type checkers alone."""
    package, found = path.relative_to(ROOT).parent.parts, set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            above = package[: len(package) - node.level + 1]
            target = (*above, *(node.module.split(".") if node.module else ()))
            names = [(*target, alias.name) for alias in node.names]
            found |= {name if name in MODULES else target for name in names}
    return found & MODULES.keys()


GRAPH = {name: imports(path) for name, path in MODULES.items()}


def test_every_module_is_in_a_room() -> None:
    assert {name[0] for name in MODULES} == FLOOR.keys()


def test_imports_between_rooms_go_down() -> None:
    wrong = [
        f"{'.'.join(name)} imports {'.'.join(target)}"
        for name, targets in GRAPH.items()
        for target in targets
        if FLOOR[target[0]] > FLOOR[name[0]]
    ]
    assert not wrong


def test_no_modules_import_in_a_circle() -> None:
    try:
        list(TopologicalSorter(GRAPH).static_order())
    except CycleError as error:
        raise AssertionError(" <- ".join(".".join(name) for name in error.args[1])) from None


def holds_a_plugin(path: Path) -> bool:
    classes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]
    return any(ast.unparse(base).partition("[")[0] in KINDS for one in classes for base in one.bases)


def test_plugins_do_not_import_each_other() -> None:
    wrong = []
    for folder in PLUGINS:
        room = tuple(folder.split("/"))
        siblings = {name for name, path in MODULES.items() if name[:-1] == room and holds_a_plugin(path)}
        wrong += [
            f"{'.'.join(name)} imports {'.'.join(target)}"
            for name in siblings
            for target in GRAPH[name] & siblings - {name}
        ]
    assert not wrong


A1111 = ("prompt", "calls")  # whose tags have an argument of that name


def test_only_bases_and_families_name_an_architecture() -> None:
    """A method, the loop or a format asks the base for its denoiser; only in tags of prompts people write "unet="."""
    named = [
        f"{path.relative_to(ROOT)}:{number}"
        for name, path in MODULES.items()
        if name[0] not in ("base", "families") and name != A1111
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "unet" in line.lower()
    ]
    assert not named
