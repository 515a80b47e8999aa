"""What a user can state about a base, a training and a study, each once: as a field of a frozen dataclass.

The options of the command line, the entries of `study.toml` and the command that runs a study again derive from these
fields. This module needs no torch, so that `triptych --help` is immediate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from .settings import Value, setting

T = TypeVar("T")
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Need = Literal["fidelity", "editability", "small", "portable", "fast"]
NOTHING = "none"  # states an empty list, where no list at all stands for a default


@dataclass(frozen=True)
class BaseOptions:
    """The source and the options of a base: all that is needed to open it, also in another process."""

    source: str = setting("demo", "'demo', a diffusers folder, a checkpoint file, or a hub id", name="base")
    device: str = setting("auto", "cpu, cuda, cuda:1, mps; auto: the best there is")
    precision: Precision = setting("auto", "fp32, bf16, fp16; auto: bf16 where the device has it, else fp32")
    resolution: int = setting(0, "pixels, a multiple of 32; 0: the base's own")
    clip: str | None = setting(None, "the CLIP of the base, for aesthetic gradients")
    vae: str = setting("", "a file with another autoencoder for the base")
    ema: bool = setting(False, "take the averaged weights that a checkpoint file may hold")
    prediction: str = setting("", "epsilon or v, where the base does not say", unset="what it says")


@dataclass(frozen=True, kw_only=True)
class LearningOptions:
    """What every training needs besides its pictures: the base, the words for the concept, the seed."""

    place: BaseOptions = field(default_factory=BaseOptions)
    kind: str = setting("", "subject, style or scene")
    class_word: str = setting("", "a word for what the concept is one of, such as cat", name="class")
    token: str = setting("", "the new word for the concept", unset="<concept>")
    seed: int = setting(0, "everything random follows from it", least=0)


@dataclass(frozen=True, kw_only=True)
class StudyOptions(LearningOptions):
    """What a study is asked for besides its folder. An empty value stands for the default of the folder or the base."""

    methods: tuple[str, ...] = setting((), "a,b,c", unset="all")
    budget: str = setting("standard", "quick, standard or thorough")
    need: Need = setting("fidelity", "fidelity, editability, small, portable or fast")
    replicates: int = setting(0, "trainings of each method", least=1, unset="the budget's own number")
    prompts: int = setting(0, "prompts that name the concept, a picture each", least=1, unset="the budget's")
    unrelated: int = setting(0, "prompts that do not name it, a picture each", least=2, unset="the budget's")
    together: tuple[str, ...] | None = setting(
        None,
        "combinations as rows: word+lora,dreambooth+lora,all,leave-one-out; or none",
        unset="the base's own",
    )
    points: bool = setting(True, "choose each method's strength and moment of training")
    tuned: Path | None = setting(None, "settings from a tuned.toml of `triptych tune`")
    settings: Mapping[str, Mapping[str, Value]] = setting(dict, "a setting; may be repeated", name="set")
    image_encoder: str = setting("", "what judges pictures: a folder or hub id of a DINOv2; a,b: claims need both")
    text_encoder: str = setting("", "what judges prompts: a folder or hub id of a CLIP")
    other_base: str = setting("", "another base of the family, to see what carries over to it")
    until_decided: bool = setting(False, "sample more prompts until the answers are decided")
    at_most_pictures: int = setting(
        0, "the most prompts that name the concept, until decided", least=1, unset="4 x the budget's"
    )
    at_most_minutes: float = setting(
        0.0, "sample no further prompts beyond this time, until decided", least=0, unset="no limit"
    )


@dataclass(frozen=True)
class Option:
    """A field that a user can state.

    Attributes:
        path: the names of the field and of the fields that it lies in, outermost first.
        name: as users write it, such as "other-base".
        kind: str, int, float, bool, Path, tuple (of names), or dict (method -> setting -> value).
        unset: what the default stands for, if the default itself says nothing.
    """

    path: tuple[str, ...]
    name: str
    kind: type
    default: Any
    explanation: str
    least: float | None = None
    unset: str = ""

    def value(self, options: object) -> Any:
        """Its value in an object of the class that it was read from."""
        for name in self.path:
            options = getattr(options, name)
        return options


def options_of(kind: type) -> Iterator[Option]:
    """The fields of a dataclass that have an explanation, and those of the dataclasses that lie in it."""
    hints = get_type_hints(kind)
    for each in fields(kind):
        if is_dataclass(hints[each.name]):
            for inner in options_of(hints[each.name]):
                yield replace(inner, path=(each.name, *inner.path))
        elif "explanation" in each.metadata:
            said = each.metadata
            yield Option(
                (each.name,), said["name"] or each.name.replace("_", "-"), _kind(hints[each.name]), _default(each),
                said["explanation"], said["least"], said["unset"],
            )  # fmt: skip


def built(kind: type[T], stated: Mapping[tuple[str, ...], Any]) -> T:
    """An object of a dataclass from values by path. Fields without a value keep their defaults."""
    hints, given = get_type_hints(kind), {}
    for name in dict.fromkeys(path[0] for path in stated):
        inner = {path[1:]: value for path, value in stated.items() if path[0] == name}
        given[name] = inner[()] if () in inner else built(hints[name], inner)
    return kind(**given)


def words_of(options: object) -> list[str]:
    """The words of a command line that state these options: those whose value is not the default."""
    found: list[str] = []
    for option in options_of(type(options)):
        value = option.value(options)
        if value == option.default:
            continue
        if option.kind is bool:
            found.append(f"--{'' if value else 'no-'}{option.name}")
        elif option.kind is dict:
            found += [word for name, own in value.items() for key in own for word in ("-s", f"{name}.{key}={own[key]}")]
        else:
            text = (",".join(value) or NOTHING) if option.kind is tuple else str(value)
            found += [f"--{option.name}", text]
    return found


def table_of(value: Any) -> Any:
    """A dataclass as a table for TOML. None is left out, paths are absolute."""
    if is_dataclass(value):
        return table_of({each.name: getattr(value, each.name) for each in fields(value)})
    if isinstance(value, Mapping):
        return {name: table_of(entry) for name, entry in value.items() if entry is not None}
    if isinstance(value, list | tuple):
        return [table_of(entry) for entry in value]
    return str(value.resolve()) if isinstance(value, Path) else value


def from_table(kind: type[T], table: Mapping[str, Any]) -> T:
    """The dataclass that `table_of` wrote. Entries that are missing keep their defaults.

    Raises:
        TypeError, KeyError: it is the table of another dataclass.
    """
    hints = get_type_hints(kind)
    return kind(**{name: _from_toml(hints[name], value) for name, value in table.items()})


def _from_toml(hint: Any, value: Any) -> Any:
    if is_dataclass(hint):
        return from_table(hint, value)  # type: ignore[arg-type]
    kind = _kind(hint)
    return kind(value) if kind in (tuple, Path) else value


def _kind(hint: Any) -> type:
    """The class of a field's values: `Path` of `Path | None`, `str` of a `Literal`, `dict` of a `Mapping`."""
    given = [part for part in get_args(hint) if part is not NoneType]
    if NoneType in get_args(hint):
        return _kind(given[0])
    origin = get_origin(hint)
    if origin is Literal:
        return type(given[0])
    return dict if origin is Mapping or origin is dict else origin or hint


def _default(each: Field[Any]) -> Any:
    return each.default if each.default_factory is MISSING else each.default_factory()
