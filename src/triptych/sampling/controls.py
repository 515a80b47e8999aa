"""What can be set of a picture besides its prompt, its seed, and the sampler with its steps and guidance."""

from __future__ import annotations

from dataclasses import dataclass

from ..settings import setting
from .prompts import EMPHASIS


@dataclass(frozen=True)
class Controls:
    """The controls of pictures that are sampled alike."""

    emphasis: str = setting("a1111", "how weights in prompts are written and applied", choices=EMPHASIS)
    late_steps: bool = setting(False, "each text of a schedule goes on for one step more, as in A1111")
