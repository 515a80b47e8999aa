"""`kill -9` at logged steps, also while a state is written: the resumed training ends with the same tensors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.worlds import gap, trial
from triptych.base import tiny_base
from triptych.training.fit import Fitted, Trial, fit

STEPS = 12
KILLED = (1, 4, 9, 11)  # after so many steps
TRAINED: dict[str, dict[str, Any]] = {
    "lora": {"text_lr": 1e-3, "dropout": 0.1}, "textual-inversion": {"ema": 0.9},
    "hypernetwork": {"rescue": 1.5, "fixed_every": 2}, "dreambooth": {"optimizer": "lion", "lr": 1e-4},
}  # fmt: skip


def trained(method: str) -> Trial:
    return trial(method, steps=STEPS, keep="best", **{"fixed_every": 3, **TRAINED[method]})


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
@pytest.mark.parametrize("method", TRAINED)
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
    words = f"train({method!r}, Path({str(state)!r}), {step}, {writing})"
    code = f"from pathlib import Path; from tests.test_killed import train; {words}"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert state.is_file()


def assert_equal(whole: Fitted, resumed: Fitted) -> None:
    assert gap(whole.tensors, resumed.tensors) == 0
    assert (whole.losses, whole.fixed, whole.kept_step) == (resumed.losses, resumed.fixed, resumed.kept_step)
