"""The state of a training on disk. A training resumed from it ends bit for bit like an uninterrupted one."""

from __future__ import annotations

import os
import platform
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..base import Base
from ..errors import TriptychError
from ..files.atomic import replacing
from .rescue import Rescue

if TYPE_CHECKING:
    from .job import Job

MadeFrom = Mapping[str, str]  # all that a training depends on, by names that the user knows


def environment(base: Base) -> dict[str, str]:
    """The environment that bit-exact equality of two runs depends on."""
    return {
        "device": str(base.device), "dtype": str(base.dtype), "threads": str(torch.get_num_threads()),
        "torch": str(torch.__version__), "machine": platform.machine() + " " + str(os.cpu_count()),
    }  # fmt: skip


def save_state(
    path: Path, base: Base, jobs: Sequence[Job], scaler: torch.amp.GradScaler, step: int, made_from: MadeFrom
) -> None:
    """Write all that is needed to resume after `step` steps, atomically."""
    kept: dict[str, Any] = {
        "step": step,
        "made_from": dict(made_from),
        "environment": environment(base),
        "scaler": scaler.state_dict(),
        "jobs": [
            {
                "parameters": [parameter.detach() for parameter in job.parameters],
                "optimizer": job.optimizer.state_dict(), "losses": job.losses, "failure": job.failure,
                "averages": job.averages, "rescue": vars(job.rescue),
                "curve": job.fixed.curve if job.fixed else [], "best": job.fixed.best if job.fixed else {},
            }
            for job in jobs
        ],
    }  # fmt: skip
    with replacing(path) as temporary:
        torch.save(kept, temporary)


def load_state(path: Path, base: Base, jobs: Sequence[Job], scaler: torch.amp.GradScaler, made_from: MadeFrom) -> int:
    """Restore the jobs from a state. Returns the steps done.

    Raises:
        TriptychError: the file is damaged, or of a training with other arguments.
    """
    try:
        kept = torch.load(path, map_location=base.device, weights_only=True)
        _compare(path, kept["made_from"], made_from)
        for job, own in zip(jobs, kept["jobs"], strict=True):
            for parameter, value in zip(job.parameters, own["parameters"], strict=True):
                parameter.data.copy_(value)
            job.leaves.refresh()
            job.averages, job.rescue = list(own["averages"]), Rescue(**own["rescue"])
            job.optimizer.load_state_dict(own["optimizer"])
            job.losses, job.failure = list(own["losses"]), own["failure"]
            if job.fixed:
                job.fixed.curve, job.fixed.best = [(done, loss) for done, loss in own["curve"]], dict(own["best"])
        scaler.load_state_dict(kept["scaler"])
    except TriptychError:
        raise
    except Exception as error:  # torch raises many types for damaged or foreign files
        raise TriptychError(
            f"{path} cannot be resumed from; delete it to start again ({type(error).__name__})"
        ) from error
    if kept["environment"] != environment(base):
        warnings.warn(
            f"resuming with {environment(base)}, begun with {kept['environment']}: near, not equal", stacklevel=3
        )
    return int(kept["step"])


def _compare(path: Path, before: MadeFrom, now: MadeFrom) -> None:
    """Check that two trainings are made from the same things.

    Raises:
        TriptychError: they differ; the message names the differences.
    """
    differing = [
        f"{name} was {before.get(name, 'not set')} and is {now.get(name, 'not set')}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    if differing:
        raise TriptychError(
            f"cannot go on from {path}: that training was begun with other arguments ({'; '.join(differing)});"
            " give the same ones, or delete it to start anew"
        )
