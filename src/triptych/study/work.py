"""What every stage of a study works with: the plan, the open base and folder, the places, and whom to tell."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from ..base import Base, Budget, generator
from ..concept import Concept
from ..patch import Examples
from .layout import Layout
from .plan import Plan
from .progress import Progress


@dataclass
class Work:
    plan: Plan
    base: Base
    concept: Concept
    layout: Layout
    progress: Progress
    _examples: dict[tuple[int, ...], Examples] = field(default_factory=dict)

    @cached_property
    def budget(self) -> Budget:
        return self.plan.budget_of(self.base)

    @cached_property
    def base_key(self) -> tuple[str, str, int]:
        """What a result depends on of the base: fingerprint, precision, resolution."""
        return self.base.identity, str(self.base.dtype), self.base.resolution

    def examples(self, chosen: tuple[int, ...]) -> Examples:
        """Training pictures as latents, encoded once."""
        if chosen not in self._examples:
            self._examples[chosen] = Examples.of(self.base, self.concept, chosen)
        return self._examples[chosen]

    @property
    def picture_seeds(self) -> list[int]:
        """Seeds of the pictures that are judged. What training draws is seeded apart, whatever these are."""
        first = int(generator("pictures", self.plan.seed).initial_seed()) % 100_000
        return [first + i for i in range(self.budget.seeds)]
