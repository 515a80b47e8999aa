"""Workers of a study: the bits of a single process, after a stop too; errors, warnings and kills that are told."""

from __future__ import annotations

import os
import pickle
import signal
import time
import warnings
from collections import deque
from multiprocessing import Pipe
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from triptych.base import Base, Place
from triptych.cancel import Cancel, Cancelled, check
from triptych.errors import OtherBaseError, Remedy, TriptychError
from triptych.files.tensorfile import TensorFile
from triptych.study.layout import Layout
from triptych.study.plan import Plan
from triptych.study.processes import BESIDE, affordable, single_threaded
from triptych.study.progress import Silent
from triptych.study.run import _work
from triptych.study.sheets import sample_all, sheets
from triptych.study.training import runs, train_all
from triptych.study.work import Work
from triptych.study.workers import Ended, Ready, Task, Workers, _listen, _sendable, share


class Heard(Silent):
    """Keeps what it is told. Cancels a token after some units of work."""

    def __init__(self, cancel: Cancel | None = None, after: int = 0) -> None:
        self.cancel, self.after = cancel, after
        self.notes: list[str] = []
        self.units = 0

    def advance(self, units: int = 1) -> None:
        self.units += units
        if self.cancel and self.units >= self.after:
            self.cancel.cancel()

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)


@pytest.fixture
def plan(folder: Path, random_base: Path) -> Plan:
    place = Place(str(random_base / "base"), precision="fp32")
    settings = {name: {"steps": 5} for name in ("lora", "dreambooth")}
    return Plan(folder, place=place, methods=("lora", "dreambooth"), budget="quick", settings=settings, prompts=3)


def work_in(out: Path, plan: Plan, progress: Heard | None = None, processes: int = 2) -> Work:
    out.mkdir(exist_ok=True)
    return Work(plan, plan.place.open(), plan.concept(), Layout(out), progress or Heard(), processes=processes)


# --- what runs in a worker ----------------------------------------------------------------------------------------


def write(work: Work, name: str) -> None:
    where = f"{os.getpid()} {torch.get_num_threads()}"
    (work.layout.out / name).write_text(where)
    warnings.warn("all too well known", stacklevel=1)
    work.progress.note(name)
    work.progress.advance(2)


def refuse(work: Work) -> None:
    raise TriptychError("it is too far away", Remedy.DEVICE)


def break_down(work: Work) -> None:
    raise KeyError("deep inside")


def die(work: Work) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def go_on(work: Work) -> None:
    """Until it is cancelled."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        check()
        time.sleep(0.01)
    (work.layout.out / "never").touch()


@pytest.mark.study
def test_workers_make_the_bits_of_a_single_process_also_after_a_stop(plan: Plan, tmp_path: Path) -> None:
    single, shared = work_in(tmp_path / "single", plan, processes=1), tmp_path / "shared"
    cancel = Cancel()
    stopped = work_in(shared, plan, Heard(cancel, after=2))
    with cancel.applied(), pytest.raises(Cancelled):
        train_all(stopped, runs(stopped))
    assert any(note.startswith("stopped after step") for note in stopped.progress.notes)  # type: ignore[attr-defined]
    assert list(shared.glob("trials/state-*.pt"))
    for work in (single, work_in(shared, plan)):
        wanted = runs(work)
        train_all(work, wanted)
        assert all(run.done for run in wanted)
        assert {run.record.at_once for run in wanted if run.record} == {work.processes}
        sample_all(work, sheets(work, wanted))
    made = sorted(path.relative_to(shared) for path in shared.rglob("*") if path.suffix in (".png", ".safetensors"))
    assert made == sorted(
        p.relative_to(single.layout.out) for p in single.layout.out.rglob("*") if p.suffix in (".png", ".safetensors")
    )
    for path in made:
        one, other = single.layout.out / path, shared / path
        if path.suffix == ".png":
            assert np.array_equal(np.asarray(Image.open(one)), np.asarray(Image.open(other))), path
            continue
        kept, again = TensorFile.open(one).tensors(), TensorFile.open(other).tensors()
        assert kept.keys() == again.keys() and all(torch.equal(kept[name], again[name]) for name in kept), path


@pytest.mark.slow
def test_notes_progress_and_warnings_of_workers_are_shown(plan: Plan, tmp_path: Path) -> None:
    work = work_in(tmp_path / "out", plan, heard := Heard())
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        share(work, [Task(write, (name,), 1) for name in "abc"])
    assert (sorted(heard.notes), heard.units) == (["a", "b", "c"], 6)
    assert [str(warning.message) for warning in seen] == ["all too well known"]
    told = [(work.layout.out / name).read_text().split() for name in "abc"]
    assert str(os.getpid()) not in {process for process, _ in told} and {threads for _, threads in told} == {"1"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (refuse, TriptychError, "^it is too far away"),
        (break_down, KeyError, "deep inside"),
        (die, TriptychError, "^a process of the study was killed"),
    ],
)
def test_what_goes_wrong_in_a_worker_is_raised_here(
    plan: Plan, tmp_path: Path, fault: object, error: type[Exception], says: str
) -> None:
    work = work_in(tmp_path / "out", plan)
    with pytest.raises(error, match=says) as raised:
        share(work, [Task(go_on, (), 2), Task(fault, (), 1)])  # type: ignore[arg-type]
    assert not (tmp_path / "out" / "never").exists()
    if fault is refuse:
        assert raised.value.remedies == (Remedy.DEVICE,)  # type: ignore[attr-defined]
    if fault is break_down:
        assert "in break_down" in raised.value.__notes__[0]


# --- without processes ------------------------------------------------------------------------------------------


def test_a_single_process_runs_the_tasks_in_their_order(plan: Plan, tmp_path: Path) -> None:
    done: list[int] = []
    work = work_in(tmp_path / "out", plan, processes=1)
    share(work, [Task(lambda work, number: done.append(number), (number,), number) for number in (1, 3, 2)])
    assert done == [1, 3, 2]
    with (cancel := Cancel()).applied(), pytest.raises(Cancelled):
        cancel.cancel()
        share(work, [Task(lambda work: done.append(4), (), 1)])
    assert done == [1, 3, 2]


def test_a_worker_gets_one_task_after_the_other_and_at_last_none(plan: Plan) -> None:
    ours, theirs = Pipe()
    workers = Workers(SimpleNamespace(progress=Heard()), deque([Task(write, ("a",), 2)]))  # type: ignore[arg-type]
    for message, more, reply in [(Ready(), True, ("a",)), (Ready(), True, None), (Ended(None), False, ...)]:
        theirs.send(message)
        assert workers._hear(ours) is more
        if reply is not ...:
            task = theirs.recv()
            assert (task and task.given) == reply
    theirs.close()
    assert (
        not workers._hear(ours)
        and isinstance(workers.error, TriptychError)
        and workers.error.remedies == (Remedy.AGAIN,)
    )


def test_a_worker_that_nobody_hears_any_more_is_cancelled() -> None:
    ours, theirs = Pipe()
    ours.send(Task(write, ("a",), 1))
    ours.close()
    cancel, tasks = Cancel(), SimpleQueue[Task | None]()
    _listen(theirs, cancel, tasks)
    first = tasks.get()
    assert first and first.given == ("a",) and tasks.get() is None and cancel.is_cancelled


class OddError(Exception):
    def __init__(self, *needed: object) -> None:
        super().__init__("odd")
        self.why = lambda: needed


def test_errors_travel_between_processes() -> None:
    for error in (TriptychError("a", Remedy.DEVICE), OtherBaseError("768 wide", "a.safetensors")):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
    assert str(_sendable(OddError())).startswith("odd\n")


def test_a_study_of_small_pictures_takes_processes_and_one_thread(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    assert single_threaded(base)
    base.resolution = 33 * base.pixels
    assert not single_threaded(base)
    base.resolution = 32 * base.pixels
    assert single_threaded(base)
    for free, count in [(0, 1), (2.5, 2), (99, 4)]:
        memory = SimpleNamespace(available=free * BESIDE)
        monkeypatch.setattr(psutil, "virtual_memory", lambda memory=memory: memory)
        assert affordable(base, 4) == count


def test_too_little_memory_is_said(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=0))
    work = work_in(tmp_path / "out", plan, heard := Heard(), processes=1)
    work.threads = 2
    assert (_work(work).processes, heard.notes) == (1, ["1 of 2 processes compute: there is no memory for more"])
