"""Opens what the settings of jobs and a memory plan ask for: recomputed activations, and weights stored otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch

from ..base import Base
from ..errors import TriptychError
from ..families import VAE
from .frozen import stored
from .job import Job
from .memory import OFFLOADS, Arrangement
from .passes import Passes


def asked_by(active: Sequence[Job]) -> Arrangement:
    """What the settings of jobs ask for. Jobs that store the base otherwise train alone."""
    offloads = [job.training.offload for job in active]
    return Arrangement(
        any(job.training.checkpointing for job in active), max(offloads, key=OFFLOADS.index, default="none")
    )


@contextmanager
def arranged(base: Base, jobs: Sequence[Job], arrangement: Arrangement) -> Iterator[int]:
    """Open an arrangement. Yields the bytes of weights that are stored otherwise on the device."""
    trained = [leaf for job in jobs for leaf, _ in job.leaves.pairs]
    idle = [VAE, *(text.name for text in base.texts if all(job.text_is_fixed for job in jobs))]
    kinds = {job.training.frozen for job in jobs} or {"as-is"}
    if len(kinds) > 1:
        raise ValueError(f"jobs of one pass store the base in several ways: {', '.join(sorted(kinds))}")
    with (
        base.checkpointed() if arrangement.checkpointing else nullcontext(),
        stored(base, trained, kinds.pop(), arrangement.offload, idle) as size,
    ):
        yield size


def refuse_fused(active: Sequence[Job], passes: Passes, base: Base) -> None:
    """
    Raises:
        TriptychError: a fused step would have several passes, or gradients that are scaled.
    """
    if any(job.is_fused for job in active):
        if len(passes.of(active)) > 1:
            raise TriptychError(
                f"a fused step takes all its {sum(job.rows for job in active)} rows in one pass, and only {passes.most}"
                " fit; take a smaller batch, or checkpointing"
            )
        if base.dtype is torch.float16:
            raise TriptychError("a fused step cannot scale its gradients, as float16 needs; open the base in bf16")
