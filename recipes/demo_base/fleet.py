"""Data-parallel training on CPU cores, or one process on a GPU. The processes average their gradients."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed
from torch import Tensor

from triptych.base.device import device_named, dtype_named


@dataclass(frozen=True)
class Fleet:
    """This process's place among those that train together."""

    rank: int
    size: int
    device: torch.device
    parent: int | None = None
    """The process that started this one and waits for it; None where nobody does."""

    @classmethod
    def join(cls, rank: int, size: int, device: str, folder: Path) -> Fleet:
        """Meet the others at a file in `folder`."""
        if size > 1:
            torch.set_num_threads(1)
            meeting = (folder / "meeting").absolute().as_uri()
            torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size)
        return cls(rank, size, device_named(device), os.getppid())

    @property
    def leads(self) -> bool:
        """Whether this process writes logs and checkpoints."""
        return self.rank == 0

    @property
    def orphan(self) -> bool:
        """Whether the process that started this one is gone: a worker does not outlive its recipe."""
        return self.parent is not None and os.getppid() != self.parent

    def average(self, gradients: list[Tensor]) -> None:
        """Replace gradients by their mean over the processes."""
        if self.size == 1:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        torch.distributed.all_reduce(flat)
        flat /= self.size
        for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def agree(self, number: float) -> float:
        """The first process's number."""
        if self.size == 1:
            return number
        said = torch.tensor(number, dtype=torch.float64)
        torch.distributed.broadcast(said, 0)
        return float(said)

    def wait(self) -> None:
        """Return when all processes are here."""
        if self.size > 1:
            torch.distributed.barrier()


def run_together(module: str, arguments: Iterable[str], size: int, folder: Path) -> None:
    """Run `python -m module RANK SIZE arguments...` once per process; fail, and end them all, if one fails."""
    (folder / "meeting").unlink(missing_ok=True)
    environment = os.environ | ({"OMP_NUM_THREADS": "1"} if size > 1 else {})
    arguments = list(arguments)
    workers = [
        subprocess.Popen([sys.executable, "-m", module, str(rank), str(size), *arguments], env=environment)
        for rank in range(size)
    ]
    try:
        codes = [worker.wait() for worker in workers]
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.kill()
    if any(codes):
        raise RuntimeError(f"{module} {' '.join(arguments)} failed with exit codes {codes}")


def half_where_fast(device: torch.device) -> torch.autocast:
    """A `with` block that computes in bfloat16, on a device which does so natively; elsewhere it changes nothing."""
    fast = dtype_named("auto", device) is torch.bfloat16
    return torch.autocast(device.type, torch.bfloat16, enabled=fast)
