"""A session as a server uses it: calls from threads, cancelled calls, bases that are kept and closed."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import triptych
from tests.worlds import gap
from triptych.app.bases import Bases
from triptych.app.sample import SampleRequest
from triptych.app.train import TrainRequest
from triptych.base import Base, Place, tiny_base
from triptych.cancel import Cancel, Cancelled, check, current
from triptych.data.concept import Concept
from triptych.data.prompts import Line
from triptych.errors import TriptychError
from triptych.exchange.formats import open_artifact
from triptych.study import Plan, Silent
from triptych.training.loop import Stopped

DOG, CAT = Line("a dog"), Line("a cat")


class Watched(Silent):
    """Calls a function after so many finished units of a stage."""

    def __init__(self, stage: str, after: int, then: Callable[[], Any]) -> None:
        self.watched, self.after, self.then = stage, after, then
        self.here, self.done = "", 0
        self.units: list[int] = []  # of the present stage
        self.notes: list[str] = []

    def stage(self, name: str, total: int) -> None:
        self.here, self.done, self.units = name, 0, []
        if (name, self.after) == (self.watched, 0):
            self.then()

    def advance(self, units: int = 1) -> None:
        self.done += units
        self.units.append(units)
        if (self.here, self.done) == (self.watched, self.after):
            self.then()

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)


class Tiny(Place):
    """The tiny base, without files."""

    def open(self) -> Base:
        if self.source == "none":
            raise TriptychError("there is no base 'none'")
        return tiny_base()


@pytest.fixture
def place() -> Place:
    return Tiny("demo", "cpu", "fp32")


@pytest.fixture
def session() -> triptych.Session:
    return triptych.Session()


def request(*lines: Line, count: int = 1, steps: int = 3) -> SampleRequest:
    return SampleRequest(lines, 5, count, (), {"steps": steps})


def learning(folder: Path, place: Place, method: str = "lora") -> TrainRequest:
    return TrainRequest(method, Concept.open(folder), place, {"steps": 6, "batch": 2})


def read(paths: list[Path]) -> list[bytes]:
    return [path.read_bytes() for path in paths]


def test_jobs_from_two_threads_give_what_they_give_one_after_another(
    session: triptych.Session, place: Place, tmp_path: Path
) -> None:
    jobs = [(name, request(line, count=3)) for name, line in (("dog", DOG), ("cat", CAT))]
    alone = [read(triptych.Session().sample(job, place, tmp_path / "alone" / name)) for name, job in jobs]
    with ThreadPoolExecutor(2) as threads:
        both = [threads.submit(session.sample, job, place, tmp_path / "both" / name) for name, job in jobs]
    assert [read(job.result()) for job in both] == alone
    assert alone[0] != alone[1]
    assert session.bases.places() == [place]


@pytest.mark.slow
def test_training_beside_sampling_leaves_both_as_they_are(
    session: triptych.Session, place: Place, folder: Path, tmp_path: Path
) -> None:
    job = request(DOG, count=2)
    alone = read(triptych.Session().sample(job, place, tmp_path / "alone"))
    triptych.Session().train(learning(folder, place), tmp_path / "alone.safetensors")
    with ThreadPoolExecutor(2) as threads:
        trained = threads.submit(session.train, learning(folder, place), tmp_path / "both.safetensors")
        sampled = threads.submit(session.sample, job, place, tmp_path / "both")
    assert trained.result().parameters > 0
    assert read(sampled.result()) == alone
    tensors = [open_artifact(tmp_path / f"{name}.safetensors").tensors for name in ("alone", "both")]
    assert gap(*tensors) == 0


@pytest.mark.parametrize("method", ["lora", pytest.param("dreambooth", marks=pytest.mark.slow)])
def test_a_cancelled_training_goes_on_to_the_same_bits(
    session: triptych.Session, place: Place, folder: Path, tmp_path: Path, method: str
) -> None:
    job, cancel = learning(folder, place, method), Cancel()
    session.train(job, tmp_path / "whole.safetensors")
    reached, out = threading.Event(), tmp_path / "out" / "dog.safetensors"

    def wait() -> None:
        reached.set()
        assert cancel._event.wait(30)

    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(session.train, job, out, Watched("training", 2, wait), cancel)
        assert reached.wait(30)
        cancel.cancel()
        with pytest.raises(Stopped, match="after step 3 of 6, which is saved"):
            running.result()
    assert [path.name for path in out.parent.iterdir()] == [".dog.state"]
    progress = Watched("training", 6, lambda: None)
    session.train(job, out, progress, resume=True)
    assert progress.units == [4, 1, 1], "the three steps before are not done again"
    assert gap(open_artifact(tmp_path / "whole.safetensors").tensors, open_artifact(out).tensors) == 0


@pytest.mark.slow
def test_cancelled_sampling_keeps_the_pictures_that_are_ready(
    session: triptych.Session, place: Place, tmp_path: Path
) -> None:
    cancel, job = Cancel(), request(DOG, count=9)  # batches of 8 pictures
    whole = read(session.sample(job, place, tmp_path / "whole"))
    with pytest.raises(Cancelled):
        session.sample(job, place, tmp_path / "part", Watched("sampling", 2, cancel.cancel), cancel)
    part = read(sorted((tmp_path / "part").iterdir()))
    assert part == whole[: len(part)] and len(part) == 8


def test_sampling_is_cancelled_between_steps(
    session: triptych.Session, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel, calls, denoise = Cancel(), [], Base.denoise

    def counted(self: Base, *args: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            cancel.cancel()
        return denoise(self, *args)

    monkeypatch.setattr(Base, "denoise", counted)
    with pytest.raises(Cancelled):
        session.sample(request(DOG, steps=20), place, tmp_path / "out", None, cancel)
    assert len(calls) == 4
    assert not list((tmp_path / "out").iterdir())


def test_a_cancelled_call_does_not_begin(session: triptych.Session, place: Place, tmp_path: Path) -> None:
    cancel = Cancel()
    cancel.cancel()
    with pytest.raises(Cancelled):
        session.sample(request(DOG), place, tmp_path / "out", None, cancel)
    assert not (tmp_path / "out").exists() and not session.bases.places()
    assert session.sample(request(DOG), place, tmp_path / "out"), "another call is not cancelled"


def test_a_call_that_waits_for_its_base_can_be_cancelled(
    session: triptych.Session, place: Place, tmp_path: Path
) -> None:
    holds, goes_on, cancel = threading.Event(), threading.Event(), Cancel()
    progress = Watched("sampling", 0, lambda: (holds.set(), goes_on.wait(30)))
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(session.sample, request(DOG), place, tmp_path / "first", progress)
        assert holds.wait(30)
        second = threads.submit(session.sample, request(DOG), place, tmp_path / "second", None, cancel)
        cancel.cancel()
        with pytest.raises(Cancelled):
            second.result(30)
        assert not first.done()
        goes_on.set()
        assert len(first.result()) == 1


def test_a_study_stops_between_its_units(
    session: triptych.Session, place: Place, folder: Path, tmp_path: Path, random_base: Path
) -> None:
    cancel, out = Cancel(), tmp_path / "study"
    plan = Plan(folder, place=place, methods=("lora", "dreambooth"), image_encoder=str(random_base / "dino"),
                text_encoder=str(random_base / "clip"))  # fmt: skip
    with pytest.raises(Cancelled):
        session.study(plan, out, Watched("training", 0, cancel.cancel), cancel)
    assert (out / "study.toml").is_file() and not list((out / "trials").glob("*/trial.json"))


# --- bases --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_base_of_longest_ago_is_closed_beyond_the_bound(place: Place) -> None:
    opened = place.open()
    size = opened.size
    assert size == sum(
        tensor.nbytes for module in opened.modules().values() for tensor in (*module.parameters(), *module.buffers())
    )
    small, large, other = place, replace(place, resolution=24), replace(place, resolution=32)
    bases = Bases(2 * size)
    with bases.lent(small) as base:
        gone = weakref.ref(base)
    with bases.lent(large) as base:
        kept = weakref.ref(base)
    del base
    assert bases.places() == [small, large] and bases.size == 2 * size
    with bases.lent(other), bases.lent(large):
        assert bases.places() == [large, other], "one in use is not closed, whatever it weighs"
        assert gone() is None and kept() is not None
    with bases.lent(large) as base:
        assert base is kept(), "the same object, not opened again"
    del base
    bases.close()
    gc.collect()
    assert not bases.places() and kept() is None and bases.size == 0


@pytest.mark.slow
def test_a_base_that_weighs_too_much_is_open_for_its_call_alone(place: Place) -> None:
    bases = Bases(0)
    lent = bases.lent(place)
    base = lent.__enter__()
    gone = weakref.ref(base)
    assert bases.places() == [place]
    del base
    lent.__exit__(None, None, None)
    assert not bases.places() and gone() is None


def test_a_base_that_cannot_be_opened_leaves_nothing(place: Place) -> None:
    bases, wrong = Bases(1 << 30), replace(place, source="none")
    with pytest.raises(TriptychError, match="there is no base"), bases.lent(wrong):
        pass
    assert not bases._kept


def test_a_base_is_lent_to_one_call_at_a_time(place: Place) -> None:
    bases, inside, most = Bases(1 << 30), [], []

    def use(number: int) -> Base:
        with bases.lent(place) as base:
            inside.append(number)
            most.append(len(inside))
            threading.Event().wait(0.01)
            inside.remove(number)
            return base

    with ThreadPoolExecutor(8) as threads:
        assert len({id(base) for base in threads.map(use, range(8))}) == 1
    assert most == [1] * 8


# --- tokens -------------------------------------------------------------------------------------------------------


def test_a_token_holds_for_its_thread_and_its_block() -> None:
    cancel = Cancel()
    cancel.cancel()
    with cancel.applied():
        assert current() is cancel
        with pytest.raises(Cancelled):
            check()
        with ThreadPoolExecutor(1) as threads:
            threads.submit(check).result()
        with Cancel().applied():
            check()
    check()
    assert not isinstance(Cancelled(), Exception)
