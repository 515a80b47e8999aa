"""What is written while a method trains: sampled pictures, files of earlier steps, TensorBoard's events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base import Base
from ..data.concept import Concept, fill
from ..errors import TriptychError
from ..exchange.artifact import Artifact
from ..exchange.saving import save
from ..patching.patch import Tensors
from ..sampling.generate import stream
from ..sampling.pictures import save_picture
from ..sampling.recipe import Recipe, Used
from ..sampling.request import Request
from ..training.job import Job
from ..training.moments import Moment
from ..training.schedules import learning_rate

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Watching:
    """What to write beside the file.

    Attributes:
        sample_every: steps between samples, 0 for none. The first ones are of step 0.
        prompts: what to sample, with "{}" for the concept; empty: the caption of a picture that has none.
        seeds: of the samples.
        keep_every: steps between files of the training so far, 0 for none.
        tensorboard: a folder for TensorBoard's events; None for none.
    """

    sample_every: int = 0
    prompts: Sequence[str] = ()
    seeds: Sequence[int] = (0,)
    keep_every: int = 0
    tensorboard: Path | None = None


def events_in(folder: Path) -> Any:
    """TensorBoard's writer of events.

    Raises:
        TriptychError: tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TriptychError("events for TensorBoard need the package tensorboard: install it by pip") from error
    return SummaryWriter(str(folder))


@dataclass
class Watcher:
    """Writes what `watching` asks for, at each moment of one training.

    `says` are the words that name each of the concepts. `artifact` makes an artifact of tensors.
    """

    base: Base
    watching: Watching
    out: Path
    concepts: Sequence[Concept]
    says: Sequence[str]
    artifact: Callable[[Tensors], Artifact]
    events: Any = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.watching.tensorboard:
            self.events = events_in(self.watching.tensorboard)

    def __call__(self, moment: Moment) -> None:
        ((job, _),) = moment.each
        if self.events and moment.done:
            self._log(job, moment.done)
        if _is_due(moment.done, self.watching.keep_every) and 0 < moment.done < job.training.steps:
            artifact = self.artifact(moment.tensors(job.owner))
            save(
                artifact, self._beside(f"-{moment.done:06}.safetensors"), to=artifact.kind.exports_as[0], base=self.base
            )
        if _is_due(moment.done, self.watching.sample_every):
            with moment.as_kept():
                self._sample(moment.done)

    def close(self) -> None:
        if self.events:
            self.events.close()

    def _beside(self, end: str) -> Path:
        return self.out.with_name(f"{self.out.stem}{end}")

    def _log(self, job: Job, done: int) -> None:
        self.events.add_scalar("loss", job.losses[-1], done)
        self.events.add_scalar("learning rate", learning_rate(job.training, done - 1), done)
        if job.fixed and job.fixed.curve and job.fixed.curve[-1][0] == done:
            self.events.add_scalar("fixed-batch loss", job.fixed.curve[-1][1], done)

    def _sample(self, done: int) -> None:
        """Sample each prompt with each concept's words, and with the class word alone, where these differ."""
        prompts = dict.fromkeys(
            fill(template, name)
            for concept, says in zip(self.concepts, self.says, strict=True)
            for template in self.watching.prompts or (self.base.description.captions[concept.kind],)
            for name in (says, concept.class_word)
        )
        pairs = [(prompt, seed) for prompt in prompts for seed in self.watching.seeds]
        folder = self._beside("-samples")
        folder.mkdir(exist_ok=True)
        for i, picture in stream(self.base, [Request(prompt, (seed,)) for prompt, seed in pairs]):
            prompt, seed = pairs[i]
            recipe = Recipe.of(self.base, prompt, seed, [Used.named(f"{self.out.stem}-{done:06}")])
            save_picture(folder / f"{done:06}-{i:02}.png", picture, recipe)
            if self.events:
                self.events.add_image(f"{i:02} {prompt}", _pixels(picture), done, dataformats="HWC")


def _pixels(picture: Image) -> np.ndarray[Any, Any]:
    return np.asarray(picture)


def _is_due(done: int, every: int) -> bool:
    return every > 0 and done % every == 0
