"""What several tests need: trials on the tiny base, and something to compare."""

from __future__ import annotations

from itertools import cycle, islice
from typing import Any

import torch
from torch import Tensor

from tests.plain import call as call
from tests.plain import pictures as pictures
from tests.plain import typed as typed
from triptych.base import Base, generator
from triptych.data.examples import Examples
from triptych.exchange.artifact import Artifact
from triptych.methods import method_named
from triptych.patching.patch import Tensors
from triptych.training.fit import Trial, fit

WORD = "<concept>"
SAY = f"a {WORD} dog"
FAST: dict[str, dict[str, Any]] = {
    "textual-inversion": {"lr": 1e-2, "start_word": "dog"},
    "hypernetwork": {"lr": 2e-3},
    "lora": {"lr": 2e-3, "alpha": 4.0},
    "dreambooth": {"lr": 1e-3, "prior_pictures": 2, "identifier": ""},
    "dreambooth-lora": {"lr": 2e-3, "alpha": 4.0, "prior_pictures": 2, "identifier": ""},
    "aesthetic-gradients": {"lr": 1e-2, "steps": 3},
    "pivotal": {"lr": 2e-3, "word_lr": 1e-2, "word_until": 1.0, "alpha": 4.0, "start_word": "dog"},
    "custom-diffusion": {"lr": 2e-3, "word_lr": 1e-2, "prior_pictures": 2, "start_word": "dog"},
    "layernorm": {"lr": 1e-2},
    "fine-tune": {"lr": 1e-3},
    "p-plus": {"lr": 1e-2, "start_word": "dog", "vectors": 1},
    "svdiff": {"lr": 1e-2, "prior_pictures": 2, "identifier": ""},
}


def examples(count: int, seed: int = 1, templates: tuple[str, ...] = ("a {}",)) -> Examples:
    latents = torch.randn(count, 4, 8, 8, generator=generator("test", seed), dtype=torch.get_default_dtype())
    return Examples.made(pictures(count, seed=seed), latents, list(islice(cycle(templates), count)))


def settings(name: str, **given: Any) -> Any:
    short = {} if name == "aesthetic-gradients" else {"steps": 6, "batch": 3}
    return method_named(name).configure(short, FAST.get(name, {}), given)


def trial(name: str, owner: str | None = None, seed: int = 1, count: int = 4, **given: Any) -> Trial:
    return Trial(name, settings(name, **given), examples(count, seed), "dog", seed, owner)


def learned(base: Base, one: Trial) -> Artifact:
    return Artifact(one.method, one.settings, fit(base, [one])[0].tensors)


@torch.no_grad()
def look(base: Base) -> Tensor:
    """What the base predicts for fixed noise and a fixed prompt: a picture's worth of difference shows here."""
    noisy = torch.randn(2, 4, 8, 8, generator=generator("look"), dtype=torch.get_default_dtype())
    return base.denoise(noisy, torch.tensor([10, 500]), base.encode([SAY] * 2))


def gap(a: Tensors, b: Tensors) -> float:
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a.keys() | b.keys())
