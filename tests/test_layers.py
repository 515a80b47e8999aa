"""Imports point down only, and ideas never import each other."""

from __future__ import annotations

import ast
from pathlib import Path

import triptych
from triptych.metrics import HELPERS

ROOT = Path(triptych.__file__).parent
# fmt: off
LAYERS = [
    {
        "errors", "files", "settings", "scores", "concept", "base", "tensorfile", "pickles", "archives", "hashes",
        "checkpoint", "units",
    },
    {
        "adapters", "lora_files", "word_files", "patch", "artifact", "train", "fit", "fixed_loss", "generate",
        "metadata", "png", "weights", "streaming", "export", "extract",
    },
    {"methods", "metrics", "formats", "intervals", "library", "inspection", "conversion"},
    {"verdict", "study"},
    {"report", "console", "cli", "__main__"},
]
# fmt: on
ALLOWED = {("study", "report")}  # a study ends by writing its report
IDEAS = ("methods", "metrics")
SHARED = set(HELPERS)  # of metrics: what several criteria look through
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imports(path: Path) -> list[tuple[str, ...]]:
    """The modules of triptych that a file imports, as paths from the root; not those for type checkers only."""
    package, found = path.relative_to(ROOT).parent.parts, []
    tree = ast.parse(path.read_text())
    skipped = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level and node not in skipped:
            above = package[: len(package) - node.level + 1]
            target = (*above, *(node.module.split(".") if node.module else ()))
            found += [target] if node.module else [(*target, alias.name) for alias in node.names]
    return [target for target in found if target and target[0] in LEVEL]


def files() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def test_every_module_has_a_layer() -> None:
    assert {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in files()} == LEVEL.keys()


def test_imports_point_down() -> None:
    wrong = []
    for path in files():
        own = path.relative_to(ROOT).parts[0].removesuffix(".py")
        wrong += [
            f"{path.relative_to(ROOT)} imports {'.'.join(target)}"
            for target in imports(path)
            if LEVEL[target[0]] > LEVEL[own] and (own, target[0]) not in ALLOWED
        ]
    assert not wrong


def test_ideas_do_not_import_each_other() -> None:
    wrong = []
    for folder in IDEAS:
        for path in (ROOT / folder).glob("*.py"):
            named = {target[1] for target in imports(path) if target[0] == folder and len(target) > 1}
            siblings = {name for name in named if (ROOT / folder / f"{name}.py").is_file()}
            if path.stem != "__init__" and siblings - SHARED:
                wrong.append(f"{folder}/{path.name} imports {siblings - SHARED}")
    assert not wrong
