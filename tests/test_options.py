"""Options are fields: each is a flag, an entry of study.toml and a word of the printed command, spelled once."""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import typer
from typer.main import get_command

from triptych.cli import app
from triptych.cli.command import Command
from triptych.cli.configured import Config, write_config
from triptych.cli.options import with_options
from triptych.errors import TriptychError
from triptych.options import (
    BaseOptions,
    LearningOptions,
    PictureOptions,
    StudyOptions,
    from_table,
    options_of,
    table_of,
    words_of,
)  # fmt: skip
from triptych.settings import setting

GIVEN: dict[str, Any] = {  # a value that is no default, for fields whose type alone does not give one
    "precision": "fp32", "need": "small", "methods": ("lora", "dreambooth"), "tuned": Path("tuned.toml").resolve(),
    "settings": {"lora": {"rank": "3", "alpha": "2"}, "dreambooth": {"lr": "1e-5"}},
    "together": ("textual-inversion+lora",), "clip": "a folder", "framing": "square",
    "prior": ("0.07", "8"),
}  # fmt: skip


@dataclass(frozen=True)
class LongerBase(BaseOptions):
    tiles: bool = setting(False, "decode in tiles")


@dataclass(frozen=True, kw_only=True)
class Longer(StudyOptions):
    place: LongerBase = field(default_factory=LongerBase)
    until_settled: int = setting(3, "how often", least=2)
    left_out: tuple[str, ...] = setting((), "names", unset="nobody")


def parsed(kind: type, words: list[str]) -> Any:
    """The options that a command of such options gets from these words."""
    got = []

    @with_options(kind)
    def command(*, options: Any) -> None:
        got.append(options)

    one = typer.Typer(pretty_exceptions_enable=False)
    one.command(cls=Command)(command)
    one(words, standalone_mode=False)
    return got[0]


def other(option: Any) -> Any:
    """A value that is not the default."""
    if option.path[-1] in GIVEN:
        return GIVEN[option.path[-1]]
    return {str: "x y", int: 7, float: 0.5, bool: not option.default}[option.kind]


def everything(kind: type) -> Any:
    """Options of a kind of which none has its default."""
    own = {option.path[0]: other(option) for option in options_of(kind) if len(option.path) == 1}
    inner = {"place": BaseOptions, "pictures": PictureOptions}
    return kind(
        **own, **{name: each(**{o.path[0]: other(o) for o in options_of(each)}) for name, each in inner.items()}
    )


@pytest.mark.parametrize("kind", [LearningOptions, StudyOptions])
def test_the_printed_words_state_the_same_options(kind: type) -> None:
    whole = everything(kind)
    assert parsed(kind, words_of(whole)) == whole
    assert parsed(kind, []) == kind() and words_of(kind()) == []


@pytest.mark.parametrize("option", [*options_of(StudyOptions)], ids=lambda option: option.name)
def test_each_option_is_told_alone(option: Any) -> None:
    inner = {option.path[-1]: other(option)}
    if len(option.path) == 2:
        inner = {option.path[0]: {"place": BaseOptions, "pictures": PictureOptions}[option.path[0]](**inner)}
    one = StudyOptions(**inner)
    words = words_of(one)
    flag = f"--no-{option.name}" if option.default is True else f"--{option.name}"
    assert words[0] == ("-s" if option.kind is dict else flag)
    assert parsed(StudyOptions, words) == one
    assert option.explanation


def test_a_new_field_is_a_flag_an_entry_and_a_word() -> None:
    longer = Longer(place=LongerBase("x", tiles=True), until_settled=5, left_out=("ann", "bob"))
    words = words_of(longer)
    assert words == ["--base", "x", "--tiles", "--until-settled", "5", "--left-out", "ann,bob"]
    assert parsed(Longer, words) == longer
    table = table_of(longer)
    assert (table["place"]["tiles"], table["until_settled"], table["left_out"]) == (True, 5, ["ann", "bob"])
    assert tomli_w.dumps(table) and from_table(Longer, table) == longer
    with pytest.raises(typer.BadParameter, match="2"):
        parsed(Longer, ["--until-settled", "1"])


def test_the_commands_have_the_options_of_their_class() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for name, kind, but in (
        ("try", StudyOptions, set()), ("train", LearningOptions, set()), ("generate", BaseOptions, set()),
        ("tune", StudyOptions, {"kind", "class", "token", "need", "replicates", "prompts", "unrelated", "together",
                                "points", "tuned", "text-encoder", "prompt-judge", "other-base", "prior",
                                "until-decided", "at-most-pictures", "at-most-minutes",
                                *(option.name for option in options_of(PictureOptions))}),
    ):  # fmt: skip
        known = {flag for parameter in commands[name].params for flag in parameter.opts}
        assert {f"--{option.name}" for option in options_of(kind)} - {f"--{flag}" for flag in but} <= known, name
        assert not {f"--{flag}" for flag in but} & known, name


def test_no_two_options_share_a_name() -> None:
    found = list(options_of(StudyOptions))
    assert len({option.name for option in found}) == len({option.path[-1] for option in found}) == len(found)


def test_help_tells_defaults_and_least_values() -> None:
    told = " ".join(get_command(app).commands["try"].get_help(typer.Context(get_command(app))).split())  # type: ignore[attr-defined]
    for part in ("[default: the budget's own number]", "x>=2", "[default: all]", "METHOD.KEY=VALUE", "default: demo"):
        assert part in told


def test_help_tells_greatest_values() -> None:
    told = " ".join(get_command(app).commands["generate"].get_help(typer.Context(get_command(app))).split())  # type: ignore[attr-defined]
    for name, most in (("edit-keep", 1), ("hires", 8), ("pag", 100), ("denoise", 1)):
        assert f"0<=x<={most}" in told.partition(f"--{name} ")[2].partition(" --")[0]


def test_no_list_is_a_default_and_an_empty_list_is_none() -> None:
    empty = StudyOptions(together=())
    assert words_of(empty) == ["--together", "none"]
    assert parsed(StudyOptions, ["--together", "none"]) == empty
    assert parsed(StudyOptions, ["--together", ""]) == StudyOptions()
    assert from_table(StudyOptions, table_of(empty)) == empty != StudyOptions()


def test_none_is_a_name_where_no_list_stands_for_all() -> None:
    assert parsed(StudyOptions, ["--methods", "none"]).methods == ("none",)


@pytest.mark.parametrize("words", [["--colours", "1.5"], ["--colours", "inf"], ["--keep-tags", "-1"]])
def test_a_value_out_of_range_is_refused(words: list[str]) -> None:
    with pytest.raises(typer.BadParameter):
        parsed(LearningOptions, words)


@pytest.mark.parametrize("given", [{"colours": 1.5}, {"colours": float("nan")}, {"keep_tags": -1}])
def test_a_value_out_of_range_is_refused_without_a_command(given: dict[str, Any]) -> None:
    with pytest.raises(TriptychError, match="number from 0"):
        PictureOptions(**given)


def test_help_tells_limits_and_choices() -> None:
    for name, part in (("train", "0<=x<=1"), ("generate", "a1111, no-norm, blend, comfy, compel, none")):
        told = get_command(app).commands[name].get_help(typer.Context(get_command(app)))  # type: ignore[attr-defined]
        assert part in " ".join(told.split())


def test_a_file_of_options_keeps_a_0_and_an_off_that_are_no_defaults(tmp_path: Path) -> None:
    one, seen = typer.Typer(add_completion=False, pretty_exceptions_enable=False), []

    @one.command(cls=Command)
    @with_options(StudyOptions, "pictures", "points")
    def command(*, context: typer.Context, config: Config = None, options: StudyOptions) -> None:
        seen.append(options)
        write_config(context, {}, tmp_path / "written.toml")

    one(["--keep-tags", "0", "--no-points", "--flips"], standalone_mode=False)
    one(["--config", str(tmp_path / "written.toml")], standalone_mode=False)
    assert seen[0] == seen[1] == StudyOptions(points=False, pictures=PictureOptions(keep_tags=0, flips=True))
    assert "crops" not in (tmp_path / "written.toml").read_text()
    (tmp_path / "nested.toml").write_text("[pictures]\nflips = true")
    with pytest.raises(TriptychError, match=r"unknown table \[pictures\]: options stand in none"):
        one(["--config", str(tmp_path / "nested.toml")], standalone_mode=False)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(TriptychError, match=r"METHOD\.KEY=VALUE"):
        parsed(StudyOptions, ["-s", "rank=3"])


def test_a_plan_adds_only_its_folder(tmp_path: Path) -> None:
    from triptych.base import Place
    from triptych.study import Plan

    assert {each.name for each in fields(Plan)} - {each.name for each in fields(StudyOptions)} == {"folder"}
    assert fields(Place) and {each.name for each in fields(Place)} == {each.name for each in fields(BaseOptions)}
    stated = StudyOptions(
        place=BaseOptions("x", ema=True), methods=("lora", "textual-inversion"), together=("word+lora",)
    )
    plan = Plan.of(tmp_path, stated)
    assert isinstance(plan.place, Place)
    assert plan.together == ("textual-inversion+lora",)
    assert from_table(Plan, table_of(plan)) == plan
    words = shlex.split(plan.command)
    assert words[:3] == ["triptych", "try", str(tmp_path)]
    assert parsed(StudyOptions, words[3:]) == replace(stated, together=plan.together)


def test_help_loads_nothing_heavy() -> None:
    code = "import sys, triptych.cli; print({'torch', 'numpy', 'rich.console', 'scipy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_a_study_of_before_lacks_newer_options(tmp_path: Path) -> None:
    from triptych.study import Plan, plan, read

    (tmp_path / plan.FILE).write_text(tomli_w.dumps({"asked": {"folder": "/cat", "place": {"source": "x"}}}))
    assert read(tmp_path) == Plan(Path("/cat"), place=plan.Place("x"))
    asked = plan._asked(tmp_path / plan.FILE)
    plan._compare(Plan(Path("/cat"), place=plan.Place("x")), asked, tmp_path)
    with pytest.raises(TriptychError, match="another place"):
        plan._compare(Plan(Path("/cat"), place=plan.Place("x", ema=True)), asked, tmp_path)
    (tmp_path / plan.FILE).write_text(tomli_w.dumps({"asked": {"folder": "/cat", "of a later version": 1}}))
    with pytest.raises(TriptychError, match="cannot be read"):
        read(tmp_path)
