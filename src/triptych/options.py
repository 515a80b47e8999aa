"""What a user can state about a base, a training and a study, each once: as a field of a frozen dataclass.

The options of the command line, the entries of `study.toml` and the command that runs a study again derive from these
fields. This module needs no torch, so that `triptych --help` is immediate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from .errors import TriptychError, did_you_mean
from .settings import Value, setting

T = TypeVar("T")
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Framing = Literal["square", "bucket"]
Need = Literal["fidelity", "editability", "small", "portable", "fast"]
EMPHASIS = ("a1111", "no-norm", "blend", "comfy", "compel", "none")  # how weights in prompts are written and applied
FILLS = ("original", "blur", "noise", "nothing")  # what lies under a mask at the beginning
NOTHING = "none"  # states an empty list, where no list at all stands for a default


def precision_named(name: str) -> Precision:
    """The precision called `name`.

    Raises:
        TriptychError: there is no such precision.
    """
    if name not in get_args(Precision):
        raise TriptychError(f"there is no precision {name!r}{did_you_mean(name, get_args(Precision))}")
    return cast(Precision, name)


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


@dataclass(frozen=True)
class PictureOptions:
    """How the pictures and captions of a folder become training examples."""

    framing: Framing = setting("bucket", "bucket: sizes as they are, nothing enlarged; square: centre squares")
    masks: bool = setting(False, "weigh the loss by masks beside pictures, or by their transparency")
    flips: bool = setting(False, "train on mirror images too; not for text or one-sided things")
    crops: bool = setting(False, "train on random crops")
    colours: float = setting(0.0, "greatest random change of brightness and colour, such as 0.1", least=0, most=1)
    shuffle_tags: bool = setting(False, "shuffle captions that are tags parted by commas")
    keep_tags: int = setting(1, "first tags that stay in their place when others are shuffled", least=0)
    caption_chunks: int = setting(1, "chunks (of 75 tokens) that are read of a caption; the rest is cut", least=1)

    def __post_init__(self) -> None:
        if self.framing not in get_args(Framing):
            raise TriptychError(f"there is no framing {self.framing!r}{did_you_mean(self.framing, get_args(Framing))}")
        if not 0 <= self.colours <= 1:
            raise TriptychError(f"colours change by a number from 0 to 1, not {self.colours}")
        if self.keep_tags < 0:
            raise TriptychError(f"the tags to keep are a number from 0 on, not {self.keep_tags}")
        if self.caption_chunks < 1:
            raise TriptychError(f"the chunks of a caption are a number from 1 on, not {self.caption_chunks}")

    @property
    def stated(self) -> dict[str, Value]:
        """What differs from centre squares as they are: what results depend on besides."""
        plain = {each.name: each.default for each in fields(self)} | {"framing": "square"}
        return {name: value for name, usual in plain.items() if (value := getattr(self, name)) != usual}

    @property
    def unvaried(self) -> PictureOptions:
        """The same without variations, for pictures that are only looked at."""
        return PictureOptions(framing=self.framing, masks=self.masks)

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self.stated.items())


@dataclass(frozen=True)
class ControlOptions:
    """What can be set of a picture besides its prompt, its seed, and the sampler with its steps and guidance."""

    emphasis: str = setting("a1111", "how weights in prompts are written and applied", choices=EMPHASIS)
    late_steps: bool = setting(False, "each text of a schedule goes on for one step more, as in A1111")
    width: int = setting(0, "of the picture; 0: the base's resolution", least=0)
    height: int = setting(0, "of the picture; 0: the base's resolution", least=0)
    shrink: float = setting(
        0.0, "the share of the steps whose coarse layers see a large picture at the base's own size", least=0, most=1
    )
    original_size: str = setting("", "WxH, that the picture is said to have had, for SDXL; empty: its own")
    crop: str = setting("", "X,Y, where the picture is said to have been cropped, for SDXL; empty: 0,0")
    variation_seed: int = setting(0, "the seed of the noise that is mixed in", least=0)
    variation_strength: float = setting(0.0, "how much of it: 0 none, 1 that noise alone", least=0, most=1)
    seed_resize: str = setting("", "WxH, at which the noise is drawn, so that another size looks alike")
    clip_skip: int = setting(1, "the layer of the text encoder that is read, from the last, as in A1111", least=1)
    cfg_rescale: float = setting(0.0, "how far guidance keeps the contrast of the prompt alone", least=0, most=1)
    freeu: str = setting("", "b1,b2,s1,s2 of FreeU, such as 1.5,1.6,0.9,0.2")
    pag: float = setting(0.0, "scale of perturbed-attention guidance", least=0, most=100)
    extend: str = setting("", "LEFT,TOP,RIGHT,BOTTOM pixels that a picture to begin with grows by")
    mask_blur: int = setting(4, "standard deviation of the mask's edge, in pixels", least=0)
    fill: str = setting("original", "what is under the mask at the beginning", choices=FILLS)
    only_masked: bool = setting(False, "sample the masked part alone, at the whole size")
    mask_padding: int = setting(32, "pixels around the masked part, if it is sampled alone", least=0)
    hires: float = setting(
        0.0, "how many times larger a second pass makes the picture; 0: no second pass", least=0, most=8
    )
    hires_denoise: float = setting(0.5, "how much of it the second pass samples anew", least=0, most=1)
    hires_by: str = setting("latent", "what is enlarged: latents or pixels", choices=("latent", "pixel"))
    hires_shrink: float = setting(
        1.0,
        "the share of the second pass's steps whose coarse layers see the picture at its first size",
        least=0,
        most=1,
    )
    vae_tiles: str = setting(
        "auto", "when pictures are decoded in tiles; auto: from 2 megapixels on", choices=("auto", "always", "never")
    )
    edit: str = setting("", "a prompt that the picture is changed to, where it keeps what both prompts say")
    edit_keep: float = setting(0.8, "the share of the steps in which words keep their places", least=0, most=1)
    edit_layout: float = setting(0.4, "the share of the steps in which the layout is kept", least=0, most=1)
    edit_weights: str = setting("", "WORD:FACTOR,... on the attention to words of the edited prompt")
    region_alone: float = setting(
        1.0, "the share of the steps in which a region does not see what others show", least=0, most=1
    )
    edit_only: str = setting("", "WORD,... of either prompt, where alone the picture may change")


@dataclass(frozen=True)
class SamplingOptions:
    """What every command that samples pictures takes: a base, and the controls of its pictures."""

    place: BaseOptions = field(default_factory=BaseOptions)
    controls: ControlOptions = field(default_factory=ControlOptions)


@dataclass(frozen=True)
class SceneOptions(SamplingOptions):
    """What keeps a character the same from scene to scene."""

    subject: str = setting("", "the word of all prompts that names the character", unset="a learned word, if any")
    common_noise: float = setting(0.5, "how much of their noise the scenes have in common", least=0, most=1)
    share: float = setting(
        1.0, "the weight of the other scenes in self-attention; 0: nothing is shared", least=0, most=1
    )
    share_until: float = setting(0.8, "the share of the steps in which it is shared", least=0, most=1)
    share_dropout: float = setting(0.5, "the chance that a position is not shared in a step", least=0, most=1)
    anchors: int = setting(4, "the first scenes, which the others read", least=2)


@dataclass(frozen=True, kw_only=True)
class LearningOptions:
    """What every training needs besides its pictures: the base, the words for the concept, the seed."""

    place: BaseOptions = field(default_factory=BaseOptions)
    kind: str = setting("", "subject, style or scene")
    class_word: str = setting("", "a word for what the concept is one of, such as cat", name="class")
    token: str = setting("", "the new word for the concept", unset="<concept>")
    only: str = setting("", "of a folder of several concepts, the one of these words, such as 'rex dog'")
    seed: int = setting(0, "everything random follows from it", least=0)
    pictures: PictureOptions = field(default_factory=PictureOptions)


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
    image_encoder: str = setting(
        "", "what judges pictures: a DINOv2's folder or hub id; a,b: claims need both", unset="the base's for the kind"
    )
    text_encoder: str = setting(
        "", "what judges prompts: a CLIP's or vision-language model's folder or hub id", unset="the base's"
    )
    prompt_judge: str = setting(
        "", "how a CLIP judges prompts: by rank among all values, or by CLIPScore", choices=("rank", "score"),
        unset="rank",
    )  # fmt: skip
    other_base: str = setting("", "another base of the family, to see what carries over to it")
    prior: tuple[str, ...] | None = setting(
        None,
        "the spread between trainings by earlier studies and its degrees of freedom, such as 0.04,5; or none",
        unset="the base's own",
    )
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
        least, most: of a number; None where there is no limit.
        choices: all allowed values, if they are few.
        unset: what the default stands for, if the default itself says nothing.
    """

    path: tuple[str, ...]
    name: str
    kind: type
    default: Any
    explanation: str
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
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
                said["explanation"], said["least"], said["most"] if math.isfinite(said["most"]) else None,
                said["choices"], said["unset"],
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
