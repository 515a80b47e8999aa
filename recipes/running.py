"""Runs `triptych` commands in processes of their own, some at once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Wanted:
    """A study to run.

    words: of its command, without `--out`. python: that runs it. cache: a folder of its own for what triptych keeps
    between runs, so that nothing is taken from another; None for the usual one.
    """

    folder: Path
    words: Sequence[str]
    threads: int
    python: str = sys.executable
    cache: Path | None = None

    def run(self) -> None:
        """Run it. A study that is whole is only read.

        Raises:
            SystemExit: it failed.
        """
        command = [self.python, "-m", "triptych", *self.words, "--out", str(self.folder)]
        environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(self.threads))
        if self.cache:
            environment["TRIPTYCH_CACHE"] = str(self.cache)
        done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{self.folder} failed: {done.stderr.strip()}")
        print(f"{self.folder}: done", flush=True)


def threads_each(at_once: int) -> int:
    """The threads that each of so many processes takes, which share the cores that this process may use."""
    return max(1, len(os.sched_getaffinity(0)) // at_once)


def run_all(wanted: Sequence[Wanted], at_once: int) -> None:
    """Run all, some at once."""
    each: Callable[[Wanted], None] = Wanted.run
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(each, wanted))
