"""The settings of all ways to mix. Each formula says which of them it reads (`formulas.Formula.reads`)."""

from __future__ import annotations

from dataclasses import dataclass

from ..settings import setting


@dataclass(frozen=True)
class Settings:
    scale: float = setting(1.0, "factor of the merged difference")
    density: float = setting(0.2, "share of each difference that TIES keeps, the largest values", least=0, most=1)
    drop: float = setting(0.5, "share of each difference that DARE and DELLA drop at random", least=0, most=1)
    window: float = setting(
        0.1, "by how much DELLA's rates differ between the largest and smallest values", least=0, most=1
    )
    seed: int = setting(0, "what DARE and DELLA drop follows from it", least=0)
    blocks: str = setting("", "the second file's share of each block: 26 numbers for SD 1 and 2, 20 for SDXL")
    energy: float = setting(
        0.0, "share of each layer's energy that a LoRA of dynamic rank keeps, 0 for none", least=0, most=1
    )
    ratio: float = setting(0.0, "a LoRA of dynamic rank keeps singular values down to the largest / this", least=0)
