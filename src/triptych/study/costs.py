"""The cost of each method, measured alone in a process of its own.

A joint pass does not show the cost of one method, and the peak memory of a process never falls.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import torch

from ..base import Place
from ..cancel import check
from ..data.examples import Examples
from ..errors import first_line
from ..files.atomic import write_text
from ..methods import method_named
from ..records import TrialRecord
from ..scores import Cost
from ..training.fit import Trial, fit
from .processes import WAIT, started, threads
from .training import Run
from .work import Work

INTERVAL = 0.01  # seconds between looks at the memory


@dataclass(frozen=True)
class AloneCost:
    """Seconds per step (of the whole where there are no steps), and peak bytes above the loaded base."""

    seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Task:
    """The input of the measuring process."""

    place: Place
    method: str
    settings: Any
    examples: Examples
    class_word: str
    threads: int


def measure_alone(work: Work, run: Run) -> AloneCost | None:
    """Measure a few steps of one run in a process of its own. If that process fails, note it and return None."""
    steps = work.budget.cost_steps + 1  # the first one warms up
    settings = replace(run.settings.unwatched, steps=min(steps, run.steps)) if run.steps else run.settings
    cpu = work.examples(run.train).to("cpu")
    task = Task(work.plan.place, run.method, settings, cpu, work.concept.class_word, work.threads)
    with started(_send_cost, task) as connection:
        try:
            while not connection.poll(WAIT):
                check()
            answer: AloneCost | str = connection.recv()
        except EOFError:
            answer = "the process that measures it was killed"
    if isinstance(answer, AloneCost):
        return answer
    work.progress.note(f"what {run.method} costs alone could not be measured: {answer}")
    return None


def _send_cost(connection: Connection, task: Task) -> None:
    """Send the measured cost, or the first line of the error."""
    answer: AloneCost | str
    try:
        with threads(task.threads):
            answer = _measure(task)
    except Exception as error:  # any error loses the cost only, not the study
        answer = first_line(error)
    with suppress(OSError):  # the parent has closed its end
        connection.send(answer)


def _measure(task: Task) -> AloneCost:
    base = task.place.open()
    examples = task.examples.to(base.device)
    moments: list[float] = []
    trial = Trial(task.method, task.settings, examples, task.class_word)
    with peak_memory(base.device) as peak:
        began = time.perf_counter()
        fit(base, [trial], progress=lambda done, total: moments.append(time.perf_counter()))
        whole = time.perf_counter() - began
    seconds = (moments[-1] - moments[0]) / (len(moments) - 1) if len(moments) > 1 else whole
    return AloneCost(seconds, peak[0])


@contextmanager
def peak_memory(device: torch.device) -> Iterator[list[int]]:
    """Yield a list of one number. After the block it is the peak memory in the block, in bytes above the start."""
    peak = [0]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield peak
        peak[0] = torch.cuda.max_memory_allocated(device) - before
        return
    process, over = psutil.Process(), threading.Event()
    before = process.memory_info().rss

    def look() -> None:
        while not over.wait(INTERVAL):
            peak[0] = max(peak[0], process.memory_info().rss - before)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()


def cost_of(run: Run, alone: AloneCost | None, tuning_trials: int) -> Cost:
    """The cost of one training: sizes, the pass it was trained in, and the cost alone."""
    record = TrialRecord.read(run.folder)
    return Cost(
        method=run.method,
        attaches=not method_named(run.method).moves_weights,
        parameters=record.parameters,
        file_bytes=run.artifact.stat().st_size,
        steps=record.steps,
        pictures_seen=record.steps * getattr(run.settings, "batch", 0),
        seconds_alone=alone.seconds * max(record.steps, 1) if alone else None,
        peak_bytes=alone.peak_bytes if alone else None,
        seconds_shared=record.seconds,
        trained_with=record.trained_with,
        at_once=record.at_once,
        tuning_trials=tuning_trials,
    )


def costs_of(work: Work, trained: Sequence[Run]) -> list[Cost]:
    """One cost per method, measured on its first training. Earlier measurements are kept."""
    known = _measured_before(work.layout.costs)
    firsts = list({run.method: run for run in reversed(trained)}.values())
    names = {run.method: run.folder.name for run in firsts}
    missing = [run for run in firsts if run.folder.name not in known]
    work.progress.stage("measuring costs", len(missing))
    for run in missing:
        check()
        known[run.folder.name] = cost_of(run, measure_alone(work, run), work.plan.tuning_trials(run.method, work.base))
        work.progress.advance()
        write_text(work.layout.costs, json.dumps({name: asdict(cost) for name, cost in known.items()}, indent=1))
    return [known[names[name]] for name in work.plan.chosen if name in names]


def _measured_before(path: Path) -> dict[str, Cost]:
    if not path.is_file():
        return {}
    costs = json.loads(path.read_text())
    return {name: Cost(**{**cost, "trained_with": tuple(cost["trained_with"])}) for name, cost in costs.items()}
