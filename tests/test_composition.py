"""Composition over every combination of kinds, on the tiny base: embedding, hypernetwork, LoRA, fine-tuning, aesthetic
gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, islice, permutations
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.worlds import SAY, learned, look, trial
from triptych.base import Base, tiny_base
from triptych.exchange.artifact import Artifact, Part, compose
from triptych.sampling.generate import sample_latents, settings_for
from triptych.sampling.request import Request

KINDS = ("textual-inversion", "hypernetwork", "lora", "dreambooth", "aesthetic-gradients")
COMBINATIONS = [own for count in range(1, len(KINDS) + 1) for own in combinations(KINDS, count)]
ORDERS = 6  # of the parts of a combination, of which the first is the given one
Kinds = tuple[str, ...]


@pytest.fixture(scope="module")
def artifacts(clip_folder: Path) -> Mapping[str, Artifact]:
    """One of each kind, each learned on a base of its own."""
    found = {}
    for name in KINDS:
        own = tiny_base()
        own.clip_source = str(clip_folder)
        found[name] = learned(own, trial(name))
    return found


def latents(base: Base, seeds: Sequence[int]) -> Tensor:
    return sample_latents(
        base, [Request(f"{SAY} {seed}", (seed,)) for seed in seeds], settings_for(base, steps=3, guidance=3.0)
    )


@pytest.mark.slow
@pytest.mark.parametrize("kinds", COMBINATIONS, ids="+".join)
def test_strengths_move_away_from_the_base(base: Base, artifacts: Mapping[str, Artifact], kinds: Kinds) -> None:
    """At 0 it is the plain base, bit for bit, and the denoiser's output is the farther from it the higher the strength
    is; afterwards the base is as it was."""
    before, plain, found = base.fingerprint(), look(base), []
    for strength in (0.0, 0.5, 1.0):
        with compose(base, *(Part(artifacts[kind], strength) for kind in kinds)):
            found.append(look(base))
        assert torch.equal(look(base), plain)
    assert torch.equal(found[0], plain)
    half, whole = (float((one - plain).norm()) for one in found[1:])
    assert 0 < half < whole
    assert base.fingerprint() == before


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [own for own in COMBINATIONS if len(own) > 1], ids="+".join)
def test_the_order_does_not_matter(base: Base, artifacts: Mapping[str, Artifact], kinds: Kinds) -> None:
    strengths = dict(zip(kinds, (1.0, 0.8, 0.6, 0.4, 0.2), strict=False))
    found = []
    for order in islice(permutations(kinds), ORDERS):
        with compose(base, *(Part(artifacts[kind], strengths[kind]) for kind in order)):
            found.append(look(base))
    assert all(torch.equal(one, found[0]) for one in found)


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [(), KINDS], ids=["the base", "all"])
def test_a_batch_of_eight_is_eight_batches_of_one(base: Base, artifacts: Mapping[str, Artifact], kinds: Kinds) -> None:
    with compose(base, *(Part(artifacts[kind], 0.8) for kind in kinds)):
        together = latents(base, range(8))
        alone = torch.cat([latents(base, [seed]) for seed in range(8)])
    assert torch.allclose(together, alone, rtol=1e-4, atol=1e-4 * float(alone.abs().max()))
    assert not torch.allclose(together[0], together[1], atol=1e-2)


def test_strength_0_of_everything_is_the_plain_picture(base: Base, artifacts: Mapping[str, Artifact]) -> None:
    plain = latents(base, [1])
    with compose(base, *(Part(artifact, 0.0) for artifact in artifacts.values())):
        assert torch.equal(latents(base, [1]), plain)
