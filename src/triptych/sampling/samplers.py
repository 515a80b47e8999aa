"""The samplers by name, with the names that A1111 and diffusers use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import TriptychError, did_you_mean


@dataclass(frozen=True)
class NamedSampler:
    """A sampler: diffusers' class with its options, A1111's names of the sampler and its schedule, and other spellings.

    `schedule` is A1111's "Schedule type", or "" if A1111's sampler has only one. Samplers without Karras' sigmas
    (arXiv:2206.00364, equation 5) space their steps evenly and end on the last one, which A1111 calls SGM Uniform.
    """

    scheduler: str
    options: Mapping[str, Any]
    a1111: str
    schedule: str = ""
    spellings: tuple[str, ...] = field(default=())


EVEN, KARRAS = "SGM Uniform", "Karras"
DPM = {"algorithm_type": "dpmsolver++", "solver_order": 2}

SAMPLERS: dict[str, NamedSampler] = {
    "ddim": NamedSampler("DDIMScheduler", {"clip_sample": False}, "DDIM"),
    "euler": NamedSampler("EulerDiscreteScheduler", {}, "Euler", EVEN, ("k_euler",)),
    "euler-a": NamedSampler(
        "EulerAncestralDiscreteScheduler", {}, "Euler a", EVEN, ("euler_ancestral", "k_euler_a", "k_euler_ancestral")
    ),
    "heun": NamedSampler("HeunDiscreteScheduler", {}, "Heun", EVEN, ("k_heun",)),
    "dpm++": NamedSampler(
        "DPMSolverMultistepScheduler", DPM, "DPM++ 2M", EVEN,
        ("dpmpp_2m", "k_dpmpp_2m", "dpmsolver++", "dpm++ 2m sgm uniform", "dpm++ 2m uniform"),
    ),
    "dpm++-karras": NamedSampler(
        "DPMSolverMultistepScheduler", DPM | {"use_karras_sigmas": True}, "DPM++ 2M", KARRAS,
        ("dpm++ 2m karras", "dpmpp_2m_karras", "k_dpmpp_2m_ka"),
    ),
    "unipc": NamedSampler("UniPCMultistepScheduler", {}, "UniPC", "", ("uni_pc",)),
    "lms": NamedSampler("LMSDiscreteScheduler", {}, "LMS", EVEN, ("k_lms",)),
    "pndm": NamedSampler("PNDMScheduler", {"skip_prk_steps": True}, "PLMS", ""),
}  # fmt: skip


def sampler_named(name: str) -> str:
    """triptych's name of a sampler in the spelling of triptych, A1111, ComfyUI, kohya or diffusers, in any case.

    Raises:
        TriptychError: there is no such sampler.
    """
    found = _spellings().get(_bare(name))
    if found is None:
        raise TriptychError(f"there is no sampler {name!r}{did_you_mean(name, SAMPLERS)}")
    return found


def _spellings() -> dict[str, str]:
    known: dict[str, str] = {}
    for name, sampler in SAMPLERS.items():
        for spelling in (name, sampler.a1111, *sampler.spellings, sampler.scheduler.removesuffix("Scheduler")):
            known.setdefault(_bare(spelling), name)  # "DPM++ 2M" is the one without Karras' sigmas
    return known


def _bare(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name.lower().removesuffix("scheduler"))
