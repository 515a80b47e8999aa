"""What is asked of a picture: the prompts that guide it, their schedules, its seed."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..base import Owner
from ..prompt.runs import Said, Weighted
from .image_to_image import Start

if TYPE_CHECKING:
    from PIL.Image import Image

Prompt = Said | Callable[[int, int], Said]  # one for all calls of the denoiser, or a function of call and calls


@dataclass(frozen=True)
class Schedule:
    """A prompt that changes while a picture is sampled.

    Attributes:
        entries: pairs of the last step, counted from 1, and the prompt up to it. The last one's is the last step.
    """

    entries: tuple[tuple[int, Said], ...]

    def __call__(self, call: int, calls: int) -> Said:
        """The prompt of a call of the denoiser, from 0. A sampler of second order calls it twice a step."""
        step = 1 + call * self.entries[-1][0] // calls
        return self.entries[min(bisect_left([last for last, _ in self.entries], step), len(self.entries) - 1)][1]


@dataclass(frozen=True)
class Guide:
    """One of the prompts that guide a picture together, with its weight (arXiv:2206.01714, equation 11)."""

    prompt: Prompt
    weight: float = 1.0

    def at(self, call: int, calls: int) -> Said:
        return said_at(self.prompt, call, calls)

    @property
    def has_weights(self) -> bool:
        """Whether any of its words has a weight."""
        said = [said for _, said in self.prompt.entries] if isinstance(self.prompt, Schedule) else [self.prompt]
        return any(weight != 1 for text in said if isinstance(text, Weighted) for _, weight in text.runs)


def said_at(prompt: Prompt, call: int, calls: int) -> Said:
    """What a prompt says in a call of the denoiser."""
    return prompt(call, calls) if callable(prompt) else prompt


@dataclass(frozen=True, eq=False)
class Region:
    """A part of the picture with a prompt of its own.

    Attributes:
        owner: whose artifacts act on it.
        area: left, top, right, bottom as shares of the sides; or a picture that is white where the region is.
    """

    prompt: Prompt | tuple[Guide, ...]
    area: tuple[float, float, float, float] | Image
    owner: Owner = None
    negative: Prompt = ""


@dataclass(frozen=True)
class Edit:
    """A picture becomes that of another prompt, and keeps what both prompts say (arXiv:2208.01626).

    Attributes:
        prompt: of the edited picture.
        keep: the share of the steps in which words keep their places.
        keep_layout: the share of the steps in which the self-attention is kept.
        weights: pairs of a word of the edited prompt and the factor on its map.
        only: words of either prompt; what is elsewhere stays. Empty: everything may change.
    """

    prompt: Prompt
    keep: float = 0.8
    keep_layout: float = 0.4
    weights: tuple[tuple[str, float], ...] = ()
    only: tuple[str, ...] = ()


@dataclass(frozen=True)
class Share:
    """How a picture shares self-attention with the pictures of its set (ConsiStory, arXiv:2402.03286, section 3.1).

    Attributes:
        strength: the weight of others' positions beside the picture's own: 0 not read, 1 as its own.
        until: the share of the steps, from the first, in which they are read.
        dropout: the chance that a position of another picture is not read in a step, so that poses stay different.
        subject: the word of the prompts that names what is shared; empty: the whole picture is.
        anchor: whether the others read this picture. A picture that is no anchor reads, and is not read.
    """

    strength: float = 1.0
    until: float = 0.8
    dropout: float = 0.5
    subject: str = ""
    anchor: bool = True

    def __str__(self) -> str:
        what = f"of {self.subject}" if self.subject else "of the whole picture"
        role = "anchor" if self.anchor else "reads the anchors"
        return f"{what}, strength {self.strength:g}, until {self.until:g}, dropout {self.dropout:g}, {role}"


@dataclass(frozen=True)
class Request:
    """One prompt and the seeds of its pictures, for one owner.

    Attributes:
        prompt: of the whole picture; or several that guide it together.
        start: the picture that its pictures begin with; None: noise alone.
        variations: for each picture the seed of the noise that is mixed in; empty for none.
        regions: parts of the picture with prompts of their own; the request's prompt is of the rest.
        edit: makes the edited picture of the one that the request's prompt gives.
        heat: words whose maps of attention are asked for.
        share: self-attention that its pictures share with those of other requests. Those of one number are a set.
        number: of a picture among those of its request.
    """

    prompt: Prompt | tuple[Guide, ...]
    seeds: tuple[int, ...]
    owner: Owner = None
    negative: Prompt = ""
    variations: tuple[int, ...] = ()
    start: Start | None = None
    regions: tuple[Region, ...] = ()
    edit: Edit | None = None
    heat: tuple[str, ...] = ()
    share: Share | None = None
    number: int = 0

    @property
    def guides(self) -> tuple[Guide, ...]:
        """The prompts that guide a picture, at least one."""
        return self.prompt if isinstance(self.prompt, tuple) else (Guide(self.prompt),)

    @property
    def singles(self) -> list[Request]:
        """A request for each picture."""
        return [
            replace(self, seeds=(seed,), variations=self.variations[i : i + 1], number=i)
            for i, seed in enumerate(self.seeds)
        ]
