"""`kill -9` at logged steps, also while a state is written: the resumed training ends with the same tensors.

Every method is stopped ten times by an error in its process, as a kill leaves the files. Some are really killed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.plain import first_fast
from tests.test_laws import TRAINED as ALL
from tests.test_laws import KilledError, kill_at, unchanged
from tests.worlds import gap, trial
from triptych.base import Base, tiny_base
from triptych.training.fit import Fitted, Trial, fit

STEPS = 12
STOPPED = range(1, 12)  # after so many steps: ten, and one while a state is written
HALF_WRITTEN = 6
KILLED = (1, 4, 9, 11)
REALLY = ("lora", "dreambooth")
GIVEN: dict[str, dict[str, Any]] = {
    "lora": {"text_lr": 1e-3, "dropout": 0.1}, "textual-inversion": {"ema": 0.9},
    "hypernetwork": {"rescue": 1.5, "fixed_every": 2},
    "dreambooth": {"optimizer": "lion", "lr": 1e-4, "fused": True, "clip": 0.0},
}  # fmt: skip


def trained(method: str) -> Trial:
    return trial(method, steps=STEPS, keep="best", **{"fixed_every": 3, **GIVEN.get(method, {})})


def train(method: str, state: Path, step: int, writing: bool) -> None:
    """Train until this process kills itself: after a step, or while the state of that step is being written."""
    import torch

    torch.set_num_threads(1)
    save = torch.save
    written = 0

    def killing(kept: Any, path: Path) -> None:
        nonlocal written
        written += 1
        if writing and written == step:
            path.write_bytes(b"half a state")
            os.kill(os.getpid(), signal.SIGKILL)
        save(kept, path)

    def stepped(done: int, _: int) -> None:
        if done == step and not writing:
            os.kill(os.getpid(), signal.SIGKILL)

    torch.save = killing  # type: ignore[assignment]
    fit(tiny_base(), [trained(method)], state=state, every=1, progress=stepped)


@pytest.mark.slow
@pytest.mark.parametrize("method", first_fast(ALL, 4, mark="thorough"))
def test_stopped_at_ten_steps_and_while_a_state_is_written_it_ends_with_the_same_tensors(
    base: Base, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def half(kept: Any, path: Path) -> None:
        if kept["step"] == HALF_WRITTEN:
            path.write_bytes(b"half a state")
            raise KilledError
        torch_save(kept, path)

    whole, state, torch_save = fit(base, [trained(method)])[0], tmp_path / "state.pt", torch.save
    for step in STOPPED:
        with monkeypatch.context() as patch, unchanged(base), pytest.raises(KilledError):
            if step == HALF_WRITTEN:
                patch.setattr(torch, "save", half)
            fit(base, [trained(method)], state=state, every=1, progress=kill_at(step))
        steps = torch.load(state, weights_only=True)["step"]
        assert steps == step - (step == HALF_WRITTEN)
    assert_equal(whole, fit(base, [trained(method)], state=state)[0])


@pytest.mark.slow
@pytest.mark.parametrize("method", REALLY)
def test_killed_at_several_steps_it_ends_with_the_same_tensors(method: str, tmp_path: Path) -> None:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole = fit(tiny_base(), [trained(method)])[0]
        state = tmp_path / "state.pt"
        for step in KILLED:  # each goes on from the state that the one before left
            killed(method, state, step, writing=False)
        assert_equal(whole, fit(tiny_base(), [trained(method)], state=state)[0])
        state = tmp_path / "written.pt"
        killed(method, state, 7, writing=True)
        assert_equal(whole, fit(tiny_base(), [trained(method)], state=state)[0])
    finally:
        torch.set_num_threads(threads)


def killed(method: str, state: Path, step: int, writing: bool) -> None:
    """Train in a copy of this process, which spares loading everything again."""
    copy = multiprocessing.get_context("fork").Process(target=train, args=(method, state, step, writing))
    copy.start()
    copy.join(300)
    assert copy.exitcode == -signal.SIGKILL
    assert state.is_file()


def assert_equal(whole: Fitted, resumed: Fitted) -> None:
    assert gap(whole.tensors, resumed.tensors) == 0
    assert (whole.losses, whole.fixed, whole.kept_step) == (resumed.losses, resumed.fixed, resumed.kept_step)
