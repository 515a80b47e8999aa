"""What is asked of `generate`, as a value."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..data.prompts import Line
from ..errors import Remedy, TriptychError, did_you_mean
from ..sampling.controls import Controls
from ..sampling.pictures import SUFFIXES
from ..sampling.request import Share

RANDOM = -1  # stands for a random seed, as in A1111
SEEDS = 1 << 32  # the number of random seeds


@dataclass(frozen=True)
class Made:
    """What a picture was made with: the base's name and fingerprint, the SHA-256 of the files that its prompt calls."""

    base: str = ""
    fingerprint: str = ""
    hashes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SampleRequest:
    """A request for pictures: prompts, seeds, files to attach (`FILE` or `FILE:STRENGTH`), and settings.

    Args:
        seed: of the first picture of a prompt without its own seed; picture i has seed + i. -1 is a random seed. None
            is 0, or the seed of the picture that is made again.
        count: pictures per prompt.
        changes: settings that differ from the base's: steps, guidance, sampler, negative.
        controls: what else can be set.
        library: the folder with the files that prompts name.
        form: of the files: "png", "jpeg" or "webp".
        made: what the picture was made with that is made again.
        start: a picture to begin with, and `mask`: white where it changes.
        denoises: how much of it is sampled anew, a picture for each; empty: as `controls` say.
        heat: words of the prompts whose maps of attention are written beside the pictures.
        preview: steps after which a preview of each picture is written; 0: none.
        shares: of each prompt, how its pictures share self-attention with those of the others; empty: not at all.
        notes: one sentence for each part of the user's input that is already known not to be used.

    Raises:
        TriptychError: there is no such format.
    """

    prompts: Sequence[Line]
    seed: int | None = None
    count: int = 1
    uses: Sequence[str] = ()
    changes: Mapping[str, str | int | float | None] = field(default_factory=dict)
    controls: Controls = field(default_factory=Controls)
    library: Path | None = None
    notes: Sequence[str] = ()
    form: str = "png"
    made: Made = field(default_factory=Made)
    start: Path | None = None
    mask: Path | None = None
    denoises: Sequence[float] = ()
    heat: Sequence[str] = ()
    shares: Sequence[Share] = ()
    preview: int = 0

    def __post_init__(self) -> None:
        if self.form not in SUFFIXES:
            raise TriptychError(f"there is no format {self.form!r}{did_you_mean(self.form, SUFFIXES)}")

    def check(self) -> None:
        """Check what belongs together. A picture that is made again may bring the picture to begin with.

        Raises:
            TriptychError: there is a mask, a share to sample anew or an extension, and no picture to begin with.
        """
        if self.start is None and self.controls.extend:
            raise TriptychError("what is extended is a picture to begin with", Remedy.START)
        if self.start is None and (self.mask or self.denoises):
            raise TriptychError("a mask and a share to sample anew are for a picture to begin with", Remedy.START)

    def seed_of(self, line: Line) -> int:
        """The seed of the first picture of a line, or RANDOM."""
        return (self.seed or 0) if line.seed is None else line.seed


def settled(seed: int) -> int:
    """The seed itself, or a random one in the place of RANDOM."""
    return secrets.randbelow(SEEDS) if seed == RANDOM else seed
