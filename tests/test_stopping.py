"""Stopping and going on: Ctrl-C, states and their arguments, places and names, captions that are cut, float16."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import forkserver
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.test_laws import SHARING, TRAINED, unchanged
from tests.worlds import call, examples, gap, trial, typed
from triptych.base import Base, Place, tiny_base
from triptych.cancel import deferred_interrupt
from triptych.data.examples import Examples
from triptych.errors import TriptychError
from triptych.exchange.formats import open_artifact
from triptych.files.atomic import check_place, replacing, shortened
from triptych.study import costs, processes
from triptych.training.fit import Trial, fit
from triptych.training.loop import Stopped
from triptych.training.reading import reading_of

pytestmark = pytest.mark.usefixtures("interruptible")


def ctrl_c(at: int, times: int = 1) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        for _ in range(times if done == at else 0):
            signal.raise_signal(signal.SIGINT)

    return progress


# --- Ctrl-C ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("names", [["textual-inversion"], ["dreambooth"], SHARING], ids=lambda names: "+".join(names))
def test_ctrl_c_saves_at_once_and_going_on_ends_as_uninterrupted(base: Base, names: list[str], tmp_path: Path) -> None:
    trials = [trial(name, name if len(names) > 1 else None) for name in names]
    whole = fit(base, trials)
    state = tmp_path / "state.pt"
    with unchanged(base), pytest.raises(Stopped, match="after step 4 of 6"):
        fit(base, trials, state=state, progress=ctrl_c(3))  # every 50 steps: all would be lost
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    seen: list[int] = []
    for a, b in zip(whole, fit(base, trials, state=state, progress=lambda done, _: seen.append(done)), strict=True):
        assert gap(a.tensors, b.tensors) == 0
        assert (a.losses, a.fixed) == (b.losses, b.fixed)
    assert seen == [5, 6]


def test_a_second_ctrl_c_stops_at_once(base: Base, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with unchanged(base), pytest.raises(KeyboardInterrupt) as stopped:
        fit(base, [trial("lora")], state=tmp_path / "state.pt", progress=ctrl_c(2, times=2))
    assert not isinstance(stopped.value, Stopped)
    assert not list(tmp_path.iterdir())
    assert "Ctrl-C again stops at once" in capsys.readouterr().err


def test_without_a_state_ctrl_c_stops_at_once(base: Base) -> None:
    with pytest.raises(KeyboardInterrupt) as stopped:
        fit(base, [trial("lora")], progress=ctrl_c(2))
    assert not isinstance(stopped.value, Stopped)


def test_a_handler_of_somebody_else_stays(tmp_path: Path) -> None:
    mine: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: mine.append(number))
    try:
        with deferred_interrupt() as token:
            signal.raise_signal(signal.SIGINT)
            assert (mine, token.is_cancelled) == ([signal.SIGINT], False)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells which signals are blocked")
def test_helper_processes_do_not_hear_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PRELOADED", [])
    processes.prepare()
    helper = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    status = dict(line.split(":\t") for line in Path(f"/proc/{helper}/status").read_text().splitlines())
    assert int(status["SigBlk"], 16) & 1 << signal.SIGINT - 1
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_what_breaks_in_a_measuring_process_is_sent_as_a_sentence(tmp_path: Path) -> None:
    class Connection:
        def send(self, answer: object) -> None:
            self.answer = answer
            raise BrokenPipeError

    connection = Connection()
    task = costs.Task(Place(str(tmp_path / "none")), "lora", None, examples(2), "dog", 1)
    costs._send_cost(connection, task)  # type: ignore[arg-type]
    assert "there is no base" in str(connection.answer)


# --- states ----------------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "out" / "dog.safetensors"


def stop(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Every training gets a Ctrl-C after so many steps."""
    from triptych.app import train

    monkeypatch.setattr(train, "steps_of", lambda progress: ctrl_c(at))


def hidden(place: Path) -> list[str]:
    return sorted(path.name for path in place.parent.iterdir())


@pytest.mark.slow
def test_train_goes_on_from_its_own_state_and_from_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path, random_base: Path, place: Path
) -> None:
    words = typed(random_base, "train", "lora", folder, "--out", place, "--precision", "fp32", "-s", "batch=2")
    with monkeypatch.context() as patch:
        stop(patch, 2)
        assert call(monkeypatch, *words, "--steps", "5") == 130
    told = capsys.readouterr().err
    assert "stopped after step 3 of 5, which is saved" in told and "--resume" in told
    assert hidden(place) == [".dog.state"]

    assert call(monkeypatch, *words, "--steps", "5") == 2
    assert "was stopped; go on with --resume, or replace it with --overwrite" in capsys.readouterr().err
    for changed, what in {
        ("--steps", "9"): "steps was 5 and is 9",
        ("--steps", "5", "-s", "rank=2"): "rank was 8 and is 2",
        ("--steps", "5", "--seed", "3"): "seed was 0 and is 3",
        ("--steps", "5", "--class", "hound"): "class word was dog and is hound",
    }.items():
        assert call(monkeypatch, *words, *changed, "--resume") == 2
        told = capsys.readouterr().err
        assert "begun with other arguments" in told and what in told
    assert hidden(place) == [".dog.state"]

    assert call(monkeypatch, *words, "--steps", "5", "--resume") == 0
    assert hidden(place) == ["dog.safetensors", "dog.toml"]
    resumed = open_artifact(place)
    capsys.readouterr()
    assert call(monkeypatch, *words, "--steps", "5", "--overwrite", "--resume") == 0
    assert "there is no stopped training" in capsys.readouterr().err
    assert gap(open_artifact(place).tensors, resumed.tensors) == 0


@pytest.mark.slow
def test_states_do_not_pile_up(
    monkeypatch: pytest.MonkeyPatch, folder: Path, random_base: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = typed(random_base, "train", "lora", folder, "--out", place, "--overwrite", "-s", "batch=1")
    with monkeypatch.context() as patch:
        stop(patch, 1)
        for steps in ("4", "5"):
            assert call(monkeypatch, *words, "--steps", steps) == 130
            assert hidden(place) == [".dog.state"]
    assert call(monkeypatch, *words, "--steps", "400", "-s", "lr=1e30") == 2
    assert "stopped being a number" in capsys.readouterr().err
    assert hidden(place) == []


# --- what is needed last is checked first -------------------------------------------------------------------------


@pytest.mark.slow
def test_what_is_needed_last_is_checked_before_anything_is_opened(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, folder: Path
) -> None:
    monkeypatch.setattr(Place, "open", lambda self: pytest.fail("the base was opened"))
    (tmp_path / "taken.safetensors").mkdir()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "note.png").write_text("hello")
    for why, out, more in [
        ("is too long (312 bytes", "x" * 300 + ".safetensors", ()),
        ("is too long (12", "\N{CAT}" * 300 + ".safetensors", ()),
        ("is a folder, not the name of a file; give another --out", "taken.safetensors", ("--overwrite",)),
        ("cannot write", "file/a.safetensors", ()),
        ("cannot use the picture", "a.safetensors", ("--thumbnail", tmp_path / "note.png")),
        ("there is no picture", "a.safetensors", ("--thumbnail", tmp_path / "none.png")),
        ("must be a whole number", "a.safetensors", ("-s", "rank=x")),
    ]:
        assert call(monkeypatch, "train", "lora", folder, "--out", tmp_path / out, *more) == 2
        told = capsys.readouterr().err
        assert why in told and len(told.splitlines()) == 1, told
    assert not list(tmp_path.glob(".*"))


def test_the_longest_name_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 243 + ".safetensors")
    check_place(path)
    with replacing(path) as temporary:
        temporary.write_text("whole")
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    assert shortened("\N{CAT}" * 99, 10) == "\N{CAT}" * 2


def test_two_writes_of_one_path_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with replacing(path) as one, replacing(path) as two:
        one.write_text("one")
        two.write_text("two")
        assert one != two
    assert (path.read_text(), len(list(tmp_path.iterdir()))) == ("one", 1)


@pytest.mark.slow
def test_train_tells_what_it_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, random_base: Path
) -> None:
    cat = tmp_path / "10_ohwx cat"
    cat.mkdir()
    for i in range(3):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (20, 20, 3), np.uint8)).save(cat / f"{i}.png")
    (cat / "0.txt").write_text("a cat with an enormous red hat")
    (cat / "bad.png").write_text("hello")
    words = typed(random_base, "train", "lora", cat, "--steps", "1", "--json", "--out", tmp_path / "a.safetensors")
    assert call(monkeypatch, *words) == 0
    out, told = capsys.readouterr()
    assert json.loads(out)["notes"] == ["left out: bad.png: not a picture"]
    for line in (
        "left out: bad.png: not a picture",
        "10_ohwx cat: 3 pictures, 1 left out; 1 caption",
        "class word: 'cat', from the folder's name '10_ohwx cat'; kind: subject",
        "captions: 1 of 3 are longer than the 22 tokens that are read of a prompt, and are cut (0.png by 2)",
        "not used as given: 1 thing; see the line at the start",
    ):
        assert line in told.splitlines()
    assert "lora: steps 1, lr " in told and "rank 8" in told


# --- captions that are cut ----------------------------------------------------------------------------------------


def shown_as(*templates: str) -> Examples:
    one = examples(len(templates))
    return Examples.made(
        one.pictures, [example.latent for example in one.each], templates, [f"{i}.png" for i in range(len(templates))]
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_training_is_refused_where_the_word_is_cut_off(name: str, kind: str) -> None:
    base = tiny_base(kind=kind)  # type: ignore[arg-type]
    one = trial(name, steps=1)
    long = Trial(name, one.settings, shown_as("a {}", "abcdefghijklmnopqrstuvwxyz {}"), "dog")
    with unchanged(base), pytest.raises(TriptychError, match=r"is cut off, since only 22 .*: 1\.png; shorten"):
        fit(base, [long])


@pytest.mark.parametrize(("before", "is_cut"), [(20, False), (21, True), (22, True)])
def test_half_a_word_is_a_word_cut_off(base: Base, before: int, is_cut: bool) -> None:
    one = trial("textual-inversion", vectors=2)
    reading = reading_of(base, one.method, one.settings, "dog", ["a" * before + " {}", "{}" + " a" * 25, "a {}"])
    assert [(cut.tokens, cut.word) for cut in reading.cut][-1] == (5, False)
    assert any(cut.word for cut in reading.cut) == is_cut
    assert (reading.room, reading.captions, len(reading.cut)) == (22, 3, 1 + is_cut)


def test_a_caption_of_several_chunks_is_read_whole(base: Base) -> None:
    """What is beyond the first chunk changes the training where it is read, and no caption is cut then."""
    own, losses = trial("lora", steps=1), {}
    for chunks in (1, 2):
        for said in ("hill", "road"):
            shown = replace(shown_as(f"a very old red {{}} on a round {said}"), chunks=chunks)
            losses[chunks, said] = fit(base, [Trial(own.method, own.settings, shown, "dog")])[0].losses
            read = reading_of(base, own.method, own.settings, "dog", shown.templates, (), chunks)
            assert bool(read.cut) == (chunks == 1)
    assert losses[1, "hill"] == losses[1, "road"]
    assert losses[2, "hill"] != losses[2, "road"]
    assert {text.most_chunks for text in base.texts} == {1}


@pytest.mark.parametrize(("vectors", "fits"), [(22, True), (23, False)])
def test_vectors_beyond_the_room_of_a_prompt_are_refused(base: Base, vectors: int, fits: bool) -> None:
    one = trial("textual-inversion", vectors=vectors, steps=1)
    bare = Trial(one.method, one.settings, shown_as("{}"), "dog")
    if fits:
        assert len(fit(base, [bare])[0].tensors["emb_params"]) == vectors
    else:
        with pytest.raises(TriptychError, match="is 23 tokens long, but only 22 are read"):
            fit(base, [bare])


# --- float16 ------------------------------------------------------------------------------------------------------


@pytest.fixture
def half() -> Base:
    return tiny_base(dtype=torch.float16)


@pytest.mark.slow
def test_a_training_in_float16_learns(half: Base) -> None:
    one = trial("lora", steps=12, lr=1e-2, schedule="constant")
    fitted = fit(half, [one])[0]
    assert fitted.failure is None and all(math.isfinite(loss) for loss in fitted.losses)
    assert max(float(tensor.abs().max()) for name, tensor in fitted.tensors.items() if "lora_B" in name) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("others", [False, True])
def test_a_lost_loss_in_float16_is_a_failure_of_its_own(half: Base, others: bool) -> None:
    lost = trial("lora", "ann")
    for example in lost.examples.each:
        example.latent[:] = math.inf
    sound = [trial("textual-inversion", "bob", seed=2)] if others else []
    fitted = fit(half, [lost, *sound])
    assert "stopped being a number at step 1" in str(fitted[0].failure)
    assert [one.failure for one in fitted[1:]] == [None] * len(sound)
    assert all(len(one.losses) == 6 for one in fitted[1:])
