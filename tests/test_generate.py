"""Pictures depend on their own seed; every sampler draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.plain import first_fast
from triptych.base import Base
from triptych.errors import TriptychError
from triptych.sampling.generate import sample, settings_for
from triptych.sampling.request import Request
from triptych.sampling.samplers import SAMPLERS


def array(picture: object) -> np.ndarray:
    return np.asarray(picture).astype(int)


@pytest.mark.parametrize("sampler", first_fast(SAMPLERS, 3))
def test_every_sampler_draws_by_seed_alone(base: Base, sampler: str) -> None:
    sampling = replace(settings_for(base, sampler=sampler, steps=5), batch=3)
    together = sample(base, [Request("a dog", (1, 2)), Request("a cat", (2, 7))], sampling)
    alone = sample(base, [Request("a dog", (2,))], sampling)[0][0]
    assert np.abs(array(together[0][1]) - array(alone)).max() <= 1
    assert np.abs(array(together[0][0]) - array(alone)).max() > 1
    assert np.abs(array(together[1][0]) - array(alone)).max() > 1


def test_guidance_1_leaves_the_negative_prompt_out(base: Base) -> None:
    plain = settings_for(base, guidance=1.0)
    one, other = sample(base, [Request("a dog", (1,), negative="red"), Request("a dog", (1,))], plain)
    assert np.array_equal(array(one[0]), array(other[0]))
    guided = settings_for(base, guidance=7.0)
    one, other = sample(base, [Request("a dog", (1,), negative="red"), Request("a dog", (1,))], guided)
    assert not np.array_equal(array(one[0]), array(other[0]))


def test_bad_settings_are_refused(base: Base) -> None:
    with pytest.raises(TriptychError, match="did you mean 'euler"):
        settings_for(base, sampler="eular")
    with pytest.raises(TriptychError, match="1 to 1000 steps"):
        settings_for(base, steps=5000)


def test_a_long_prompt_is_cut(base: Base) -> None:
    assert base.encode(["dog " * 50]).hidden.shape[:2] == (1, 24)
    chunks = base.texts[0].chunks(["dog " * 50, "dog", ""])
    assert [[len(chunk.ids) for chunk in own] for own in chunks] == [[22], [3], [0]]
