"""A moment of a training: what it looks like after some steps, while its patches are open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from ..base import Owner
from ..patching.patch import Patch, Tensors
from .job import Job


@dataclass(frozen=True)
class Moment:
    """The state after `done` steps. `each` are the jobs of the pass with their patches."""

    done: int
    each: Sequence[tuple[Job, Patch]]

    @property
    def active(self) -> list[Job]:
        """The jobs that did a step now; all jobs before the first step."""
        return [job for job, _ in self.each if not self.done or len(job.losses) == self.done]

    def tensors(self, owner: Owner) -> Tensors:
        """What the owner's artifact would keep if its training ended now."""
        job, patch = next((job, patch) for job, patch in self.each if job.owner == owner)
        with job.as_kept():
            return kept(patch)

    @contextmanager
    def as_kept(self) -> Iterator[None]:
        """Inside the block all patches act as their artifacts would, so pictures can be sampled with them."""
        with ExitStack() as stack:
            for job, _ in self.each:
                stack.enter_context(job.as_kept())
            yield


Watch = Callable[[Moment], None]


def kept(patch: Patch) -> Tensors:
    """A copy of what an artifact of the patch keeps."""
    tensors = dict(patch.tensors())
    return {name: tensors.pop(name).detach().to("cpu", copy=True) for name in list(tensors)}  # one at a time in memory
