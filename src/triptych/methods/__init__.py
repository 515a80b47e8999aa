"""Personalisation methods, one per file. A subclass of `Method` in a file of this folder is one (see `plugins`)."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, ClassVar, Generic, Self, TypeVar

from ..base import Base, Owner, Text
from ..data.concept import Concept
from ..data.examples import Examples, Source
from ..errors import TriptychError, did_you_mean
from ..patching.patch import Patch, Tensors
from ..plugins import Plugins
from ..settings import Value, parse, setting


class Depth(IntEnum):
    """The depth at which a patch acts in a base. Deeper patches open first, whatever order the caller gives.

    The depth determines the order of opening and nothing else. Any number between two of these is also a depth.
    """

    WEIGHTS = 10  # the base's own weights
    LAYERS = 20  # the outputs of layers
    INPUTS = 30  # the inputs of layers
    WORDS = 40  # the vocabulary
    PROMPT = 50  # the encoding of prompts


OPTIMIZERS = ("adamw", "adamw8bit", "adafactor", "prodigy", "lion", "came", "schedule-free")
SCHEDULES = ("constant", "linear", "cosine", "cosine-restarts", "polynomial", "rex")


@dataclass(frozen=True)
class Training:
    """The settings of every method that the training loop trains."""

    steps: int = setting(500, "training steps", least=1)
    lr: float = setting(1e-4, "learning rate of the optimiser", least=0)
    batch: int = setting(4, "pictures a pass", least=1)
    accumulate: int = setting(1, "passes a step, whose gradients are added: a step sees batch x accumulate", least=1)
    optimizer: str = setting("adamw", "what turns gradients into steps", choices=OPTIMIZERS)
    schedule: str = setting("cosine", "how the learning rate goes over the steps", choices=SCHEDULES)
    warmup: int = setting(0, "steps over which the learning rate rises from 0", least=0)
    decay: int = setting(0, "steps at the end over which the learning rate falls to 0, on top of the schedule", least=0)
    cycles: int = setting(1, "cosines of the schedule cosine-restarts", least=1)
    power: float = setting(1.0, "exponent of the schedule polynomial", least=0)
    weight_decay: float = setting(0.0, "weight decay of the optimiser", least=0)
    clip: float = setting(1.0, "greatest norm of a step's gradient, 0 for no bound", least=0)
    ema: float = setting(
        0.0,
        "decay of a moving average of what is trained, which is kept in its place; 0 for none",
        least=0,
        most=0.99999,
    )
    min_snr: float = setting(0.0, "gamma of min-SNR loss weighting (arXiv:2303.09556), 0 for none", least=0)
    debiased: bool = setting(False, "debiased loss weighting (arXiv:2310.08442), in place of min_snr")
    huber: float = setting(0.0, "scale of the pseudo-Huber loss (arXiv:2403.16728), 0 for the squared error", least=0)
    noise_offset: float = setting(0.0, "noise added to each channel as a whole, such as 0.05; 0 for none", least=0)
    zero_snr: bool = setting(False, "train on the schedule rescaled to zero terminal SNR (arXiv:2305.08891)")
    drop_captions: float = setting(0.0, "share of the rows that are trained on the empty prompt", least=0, most=1)
    checkpointing: bool = setting(False, "gradient checkpointing: less memory, about a third more time")
    frozen: str = setting(
        "as-is", "how the denoiser's weights that are not trained are stored; they are computed with as opened",
        choices=("as-is", "bf16", "fp8"),
    )  # fmt: skip
    offload: str = setting(
        "none", "weights that wait in files: of networks that no step uses, or all that are not trained",
        choices=("none", "idle", "all"),
    )  # fmt: skip
    fixed_every: int = setting(25, "steps between looks at the fixed-batch loss, 0 for none", least=0)
    keep: str = setting(
        "last", "the tensors that are kept: the last, or those of the lowest fixed-batch loss", choices=("last", "best")
    )
    patience: int = setting(
        0, "looks without a lower fixed-batch loss after which training stops, 0 to go on to the end", least=0
    )

    rescue: float = setting(
        0.0,
        "times its lowest value at which the fixed-batch loss shows a collapse: training goes back; 0: never",
        least=0,
    )

    @property
    def greatest_norm(self) -> float:
        """The greatest norm of a step's gradient, infinite if `clip` is 0."""
        return self.clip or math.inf

    @property
    def unwatched(self) -> Self:
        """The same without the fixed-batch loss and all that goes by it."""
        return replace(self, fixed_every=0, keep="last", patience=0, rescue=0.0)

    @property
    def chooses(self) -> bool:
        """Whether the fixed-batch loss decides when training ends or which tensors are kept."""
        return self.keep == "best" or self.patience > 0


@dataclass(frozen=True)
class WholeTraining(Training):
    """The settings of a method that trains the base's own weights, so that weights and gradients fill the memory."""

    masters: str = setting(
        "fp32", "what holds the weights that are trained: bf16 rounds at random, cpu keeps fp32 off the card",
        choices=("fp32", "bf16", "cpu"),
    )  # fmt: skip
    fused: bool = setting(False, "each weight steps as soon as its gradient is there, which is then dropped; clip=0")
    text_lr: float = setting(0.0, "learning rate of the text encoders, 0: they do not change", least=0)
    blocks: str = setting("", "a pattern that the name of a weight of the denoiser must contain, such as 'up_blocks'")


S = TypeVar("S")


class Method(Generic[S]):
    """A personalisation method. The first paragraph of its module's docstring explains it in one sentence.

    The rest of triptych uses only these traits and functions. Nothing depends on the name of a method.

    Class attributes:
        name: on the command line and in files.
        title: in sentences and tables.
        settings_class: a frozen dataclass of its settings.
        opens_at: the depth of its patch, which gives the order of opening; see `Depth`.
        moves_weights: its tensors are differences of the base's own weights, named "component.parameter". Such an
            artifact can become a checkpoint, or the nearest LoRA.
        exports_as: the formats in which a study exports its artifact.
        takes_class_pictures: its sources use the user's own pictures of the class, `Examples.prior`.
        files_as: the method whose files its results are, where only the training is its own; by default itself.
        usual: whether a study that names no methods has it.
        one_concept: why a file of it holds a single concept, as a clause; "" if one training can learn several.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    settings_class: ClassVar[type]
    opens_at: ClassVar[int]
    moves_weights: ClassVar[bool] = False
    exports_as: ClassVar[tuple[str, ...]] = ("triptych",)
    takes_class_pictures: ClassVar[bool] = False
    files_as: ClassVar[str] = ""
    usual: ClassVar[bool] = True
    one_concept: ClassVar[str] = ""

    @property
    def shares_a_pass(self) -> bool:
        """Whether it can train together with other methods in one pass, since it changes its owner's rows only."""
        return not self.moves_weights

    def changes_text(self, settings: S) -> bool:
        """Whether training changes how prompts are encoded, so that they must be encoded at every step."""
        return False

    def refusal(self, base: Base) -> str:
        """Why the method has no meaning on this base, as a sentence; empty where it has."""
        return ""

    def for_concept(self, settings: S, concept: Concept) -> S:
        """The settings, completed with the words of the concept."""
        return settings

    def with_identifier(self, settings: S, word: str) -> S:
        """The settings in which `word` stands before the class word; unchanged where the class word stands alone."""
        return settings

    def phrase(self, settings: S, class_word: str) -> str:
        """The words that name the concept in a prompt for this method."""
        return class_word

    def phrase_tokens(self, text: Text, settings: S, class_word: str) -> int:
        """The number of tokens that `phrase` takes in one text encoder."""
        return len(text.spell([self.phrase(settings, class_word)])[0])

    def start(self, base: Base, settings: S, seed: int) -> Tensors:
        """The initial tensors of training. They depend on the seed alone."""
        raise NotImplementedError

    def compute(self, base: Base, settings: S, examples: Examples) -> Tensors | None:
        """The tensors, for a method that is not trained; None for a method that the training loop trains."""
        return None

    def sources(self, base: Base, settings: S, examples: Examples, class_word: str) -> list[Source]:
        """The sources of training rows; by default the pictures, with prompts that name them by `phrase`."""
        prompts = examples.prompts(self.phrase(settings, class_word))
        return [Source("instance", examples.each, prompts, settings.batch)]  # type: ignore[attr-defined]

    def rows(self, settings: S) -> int:
        """The rows of one training step: those of all its sources; 0 for a method without steps."""
        return settings.batch if isinstance(settings, Training) else 0

    def rates(self, settings: S) -> Mapping[str, float]:
        """Learning rates by group, for groups of the patch's parameters that do not use `settings.lr`."""
        return {}

    def ends(self, settings: S) -> Mapping[str, int]:
        """Steps after which a group of parameters is not trained any more, for groups that end before the others."""
        return {}

    def patch(
        self, base: Base, settings: S, tensors: Tensors, strength: float = 1.0, owner: Owner = None
    ) -> AbstractContextManager[Patch]:
        """Open the change on `base` for the owner's rows, and restore the base at the end of the `with` block.

        Raises:
            TriptychError: the tensors were made for another kind of base, or the strength is not possible.
        """
        raise NotImplementedError

    def claim(self, settings: S) -> str | None:
        """Something that only one artifact may hold on the same rows, such as a word; None if there is none."""
        return None

    def order(self, settings: S) -> int:
        """The order of opening among artifacts of this method, lowest first. Equal ones keep the order given."""
        return 0

    def not_used(self, base: Base, tensors: Tensors) -> list[str]:
        """What of the tensors `base` has no place for and a patch leaves out, a sentence each.

        Raises:
            OtherBaseError: they were made for another kind of base.
        """
        return []

    def words(self, settings: S, tensors: Tensors) -> Mapping[str, tuple[str, Any, Tensors]]:
        """The embeddings among the tensors that its file bundles: word -> their method, its settings, tensors."""
        return {}

    def metadata(self, settings: S, tensors: Tensors) -> dict[str, str]:
        """Metadata that other tools expect in the file, besides the recipe."""
        return {}

    def configure(self, *layers: Mapping[str, Value]) -> S:
        """Settings from several layers of values. Later layers override earlier ones."""
        merged = {name: value for layer in layers for name, value in layer.items()}
        settings: S = parse(self.settings_class, merged, self.name)
        return settings

    @property
    def explanation(self) -> str:
        """The first paragraph of the docstring of the method's module."""
        text = importlib.import_module(type(self).__module__).__doc__ or ""
        return " ".join(text.strip().split("\n\n")[0].split())


@dataclass(frozen=True)
class PriorSettings(Training):
    """Settings of a method that learns a word before the class word, and keeps the class (arXiv:2208.12242)."""

    identifier: str = setting("sks", "a rare word before the class word that comes to mean the concept")
    prior: str = setting(
        "pictures", "what keeps the class: pictures of it, or the base's outputs on the training pictures",
        choices=("pictures", "outputs"),
    )  # fmt: skip
    prior_weight: float = setting(1.0, "weight of the loss that keeps the class; 0: without it", least=0)
    prior_pictures: int = setting(32, "how many pictures of the class the base draws", least=1)


P = TypeVar("P", bound=PriorSettings)


class PriorMethod(Method[P]):
    """A method that trains on pictures of the concept, called by a rare word, and keeps the class by prior rows."""

    takes_class_pictures = True

    def with_identifier(self, settings: P, word: str) -> P:
        return replace(settings, identifier=word)

    def phrase(self, settings: P, class_word: str) -> str:
        return f"{settings.identifier} {class_word}".strip()

    def sources(self, base: Base, settings: P, examples: Examples, class_word: str) -> list[Source]:
        from ..sampling.prior import prior_source  # needs torch

        prior = prior_source(
            base, examples, class_word, outputs=settings.prior == "outputs",
            pictures=settings.prior_pictures, batch=settings.batch, weight=settings.prior_weight,
        )  # fmt: skip
        return [*super().sources(base, settings, examples, class_word), *prior]

    def rows(self, settings: P) -> int:
        return settings.batch * (2 if settings.prior_weight else 1)


PLUGINS = Plugins[Method[Any]](Method, __name__, "triptych.methods")


def methods() -> Mapping[str, Method[Any]]:
    """All methods by name: those of this folder and those of other packages."""
    return PLUGINS.instances()


def refuse(method: Method[Any], base: Base) -> None:
    """
    Raises:
        TriptychError: the method has no meaning on this base.
    """
    if why := method.refusal(base):
        raise TriptychError(f"{method.name} has no meaning on the base {base.name}: {why}")


def method_named(name: str) -> Method[Any]:
    """The method called `name`.

    Raises:
        TriptychError: there is no such method.
    """
    if name not in methods():
        raise TriptychError(f"there is no method {name!r}{did_you_mean(name, methods())}")
    return methods()[name]
