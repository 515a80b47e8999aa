"""The samplers by name, with the names that A1111 and diffusers use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import TriptychError, did_you_mean


@dataclass(frozen=True)
class NamedSampler:
    """A sampler: diffusers' class with its options, A1111's names of the sampler and its schedule, and other spellings.

    `schedule` is A1111's "Schedule type", or "" if A1111's sampler has only one. Samplers without Karras'
    (arXiv:2206.00364, equation 5) or exponential noise levels space their steps evenly and end on the last one, which
    A1111 calls SGM Uniform.
    """

    scheduler: str
    options: Mapping[str, Any]
    a1111: str
    schedule: str = ""
    spellings: tuple[str, ...] = field(default=())

    def scheduled(self, schedule: str, option: str) -> NamedSampler:
        """The same sampler with another schedule type."""
        spellings = [f"{spelling} {schedule}" for spelling in (self.a1111, *self.spellings)]
        return replace(self, options={**self.options, option: True}, schedule=schedule, spellings=tuple(spellings))


EVEN, KARRAS, EXPONENTIAL = "SGM Uniform", "Karras", "Exponential"
DPM = {"algorithm_type": "dpmsolver++", "solver_order": 2}
SDE = {"algorithm_type": "sde-dpmsolver++", "solver_order": 2}

BY_SIGMAS: dict[str, NamedSampler] = {
    "euler": NamedSampler("EulerDiscreteScheduler", {}, "Euler", EVEN, ("k_euler",)),
    "heun": NamedSampler("HeunDiscreteScheduler", {}, "Heun", EVEN, ("k_heun",)),
    "dpm++": NamedSampler(
        "DPMSolverMultistepScheduler", DPM, "DPM++ 2M", EVEN,
        ("dpmpp_2m", "k_dpmpp_2m", "dpmsolver++", "dpm++ 2m sgm uniform", "dpm++ 2m uniform"),
    ),
    "dpm++-sde": NamedSampler(
        "DPMSolverSinglestepScheduler", SDE | {"lower_order_final": True}, "DPM++ SDE", EVEN,
        ("dpmpp_sde", "k_dpmpp_sde", "dpmpp_sde_gpu"),
    ),
    "dpm++-2m-sde": NamedSampler(
        "DPMSolverMultistepScheduler", SDE, "DPM++ 2M SDE", EVEN, ("dpmpp_2m_sde", "k_dpmpp_2m_sde", "dpmpp_2m_sde_gpu")
    ),
    "dpm++-3m-sde": NamedSampler(
        "DPMSolverMultistepScheduler", SDE | {"solver_order": 3}, "DPM++ 3M SDE", EVEN,
        ("dpmpp_3m_sde", "k_dpmpp_3m_sde", "dpmpp_3m_sde_gpu"),
    ),
    "lms": NamedSampler("LMSDiscreteScheduler", {}, "LMS", EVEN, ("k_lms",)),
}  # fmt: skip  # for which Karras' and exponential noise levels exist, too

SAMPLERS: dict[str, NamedSampler] = {
    "ddim": NamedSampler("DDIMScheduler", {"clip_sample": False}, "DDIM"),
    "euler-a": NamedSampler(
        "EulerAncestralDiscreteScheduler", {}, "Euler a", EVEN, ("euler_ancestral", "k_euler_a", "k_euler_ancestral")
    ),
    **BY_SIGMAS,
    **{f"{name}-karras": sampler.scheduled(KARRAS, "use_karras_sigmas") for name, sampler in BY_SIGMAS.items()},
    **{
        f"{name}-exponential": sampler.scheduled(EXPONENTIAL, "use_exponential_sigmas")
        for name, sampler in BY_SIGMAS.items()
    },
    "unipc": NamedSampler("UniPCMultistepScheduler", {}, "UniPC", "", ("uni_pc",)),
    "lcm": NamedSampler("LCMScheduler", {"clip_sample": False}, "LCM"),
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
        for spelling in (name, *sampler.spellings, sampler.a1111, sampler.scheduler.removesuffix("Scheduler")):
            known.setdefault(_bare(spelling), name)  # "DPM++ 2M" is the one without Karras' sigmas
    return known


def _bare(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name.lower().removesuffix("scheduler"))
