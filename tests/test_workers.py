"""Workers of a study: the bits of a single process, after a stop too; errors, warnings and kills that are told."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
from triptych.methods import PLUGINS
from triptych.methods.lora import Lora
from triptych.study.layout import Layout
from triptych.study.plan import Plan
from triptych.study.processes import BESIDE, affordable, single_threaded, threads
from triptych.study.progress import Silent
from triptych.study.sheets import sample_all, sheets
from triptych.study.training import runs, train_all
from triptych.study.work import Work, worker
from triptych.study.workers import END, Task, Workers, _listen, _sendable, workers_on


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


@contextmanager
def work_in(out: Path, plan: Plan, progress: Heard | None = None, processes: int = 2) -> Iterator[Work]:
    out.mkdir(exist_ok=True)
    work = Work(plan, plan.place.open(), plan.concept(), Layout(out), progress or Heard())
    with ExitStack() as stack:
        if processes > 1:
            work.workers = Workers(processes, worker, (plan, work.concept, work.layout), stack)
        yield work


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
    single, shared, cancel = tmp_path / "single", tmp_path / "shared", Cancel()
    watched = work_in(shared, plan, heard := Heard(cancel, after=2))
    with watched as stopped, cancel.applied(), pytest.raises(Cancelled):
        train_all(stopped, runs(stopped))
    assert any(note.startswith("stopped after step") for note in heard.notes)
    assert list(shared.glob("trials/state-*.pt"))
    for out, processes in ((single, 1), (shared, 2)):
        with work_in(out, plan, processes=processes) as work:
            wanted = runs(work)
            train_all(work, wanted)
            assert all(run.done for run in wanted)
            assert {run.record.at_once for run in wanted if run.record} == {processes}
            sample_all(work.at(2, 4), sheets(work.at(2, 4), wanted))
    made = sorted(path.relative_to(shared) for path in shared.rglob("*") if path.suffix in (".png", ".safetensors"))
    assert made == sorted(p.relative_to(single) for p in single.rglob("*") if p.suffix in (".png", ".safetensors"))
    for path in made:
        one, other = single / path, shared / path
        if path.suffix == ".png":
            assert np.array_equal(np.asarray(Image.open(one)), np.asarray(Image.open(other))), path
            continue
        kept, again = TensorFile.open(one).tensors(), TensorFile.open(other).tensors()
        assert kept.keys() == again.keys() and all(torch.equal(kept[name], again[name]) for name in kept), path


@pytest.mark.slow
def test_notes_progress_and_warnings_of_workers_are_shown(plan: Plan, tmp_path: Path) -> None:
    with work_in(tmp_path / "out", plan, heard := Heard()) as work, warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        work.share([Task(write, (name,), 1) for name in "abc"])
        work.share([Task(write, (name,), 1) for name in "de"])
    assert (sorted(heard.notes), heard.units) == (["a", "b", "c", "d", "e"], 10)
    assert [str(warning.message) for warning in seen] == ["all too well known"]
    told = [(tmp_path / "out" / name).read_text().split() for name in "abcde"]
    processes, threads = ({each[i] for each in told} for i in (0, 1))
    assert str(os.getpid()) not in processes and threads == {"1"}
    assert len(processes) <= 2 and not any(psutil.pid_exists(int(process)) for process in processes)


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
    with pytest.raises(error, match=says) as raised, work_in(tmp_path / "out", plan) as work:
        work.share([Task(go_on, (), 2), Task(fault, (), 1)])  # type: ignore[arg-type]
    assert not (tmp_path / "out" / "never").exists()
    if fault is refuse:
        assert raised.value.remedies == (Remedy.DEVICE,)  # type: ignore[attr-defined]
    if fault is break_down:
        assert "in break_down" in raised.value.__notes__[0]


# --- without processes ------------------------------------------------------------------------------------------


def test_a_single_process_runs_the_tasks_in_their_order(plan: Plan, tmp_path: Path) -> None:
    done: list[int] = []
    with work_in(tmp_path / "out", plan, processes=1) as work:
        work.share([Task(lambda work, number: done.append(number), (number,), number) for number in (1, 3, 2)])
        assert done == [1, 3, 2]
        with (cancel := Cancel()).applied(), pytest.raises(Cancelled):
            cancel.cancel()
            work.share([Task(lambda work: done.append(4), (), 1)])
    assert done == [1, 3, 2]


def test_a_worker_that_nobody_hears_any_more_is_cancelled() -> None:
    ours, theirs = Pipe()
    ours.send_bytes(b"a task")
    ours.close()
    cancel, tasks = Cancel(), SimpleQueue[bytes]()
    _listen(theirs, cancel, tasks)
    assert (tasks.get(), tasks.get(), cancel.is_cancelled) == (b"a task", END, True)


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


def test_too_little_memory_is_said(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=0))
    with threads(2), workers_on(base, heard := Heard(), worker) as workers:
        assert (workers, heard.notes) == (None, ["1 of 2 processes compute: there is no memory for more"])


@pytest.mark.slow
def test_a_script_without_a_guard_is_not_run_again(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "print('begun')\n"
        "from multiprocessing.connection import Connection\n"
        "from triptych.study.processes import started\n"
        "with started(Connection.send, 'heard') as connection:\n"
        "    print(connection.recv())\n"
    )
    ended = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert (ended.stdout, ended.returncode) == ("begun\nheard\n", 0), ended.stderr


def test_what_other_processes_do_not_know_is_computed_here(base: Base) -> None:
    class Mine(Lora):
        name = "mine"

    with threads(2), workers_on(base, Silent(), worker) as workers:
        assert workers and workers.most == 2 and torch.get_num_threads() == 1
    with PLUGINS.added(Mine), threads(2), workers_on(base, Silent(), worker) as workers:
        assert workers is None and torch.get_num_threads() == 1
