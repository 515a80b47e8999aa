"""docs/files.md says what the code does."""

from importlib.metadata import version

from recipes.files_page import KINDS, PAGE, PROGRAMS, page
from triptych.exchange.formats import formats


def test_the_page_is_what_the_formats_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m recipes.files_page"


def test_every_format_is_on_it() -> None:
    assert {one.kind for one in formats().values()} <= KINDS.keys()
    assert all(f"| `{name}` |" in page() for name in formats())


def test_every_program_that_was_run_is_named_with_what_was_run() -> None:
    for one in formats().values():
        for name in one.checked:
            version, commit = PROGRAMS[name]
            assert version or commit, name
    assert all(len(commit) in (0, 40) for _, commit in PROGRAMS.values())


def test_versions_of_packages_are_those_of_the_tests() -> None:
    packages = {"diffusers": "diffusers", "peft": "peft", "LyCORIS": "lycoris_lora"}
    for name, package in packages.items():
        assert PROGRAMS[name][0] == version(package), f"check {name} anew, and say its version"
