"""The judge's table: how often each criterion is met, by real pictures and by the base's, and their relation."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from scipy.stats import binomtest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Share:
    """How many of some marks are good, with Wilson's 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, marks: Sequence[bool]) -> Share:
        """Count."""
        interval = binomtest(sum(marks), len(marks)).proportion_ci(method="wilson")
        return cls(sum(marks) / len(marks), float(interval.low), float(interval.high))

    def __str__(self) -> str:
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%})"


@dataclass(frozen=True)
class Verdict:
    """Everything that the judge found."""

    base: str
    prompts: int
    guidance: float
    psnr_known: float
    psnr_strangers: float
    own: dict[str, Share]
    drawn: dict[str, Share]
    seconds_a_picture: float
    shared: dict[str, list[tuple[str, str]]]

    def table(self) -> str:
        """As Markdown."""
        shared = "; ".join(f"{subject} in {a} and {b}" for subject, pairs in self.shared.items() for a, b in pairs)
        lines = [
            f"Autoencoder, unseen combinations of known drawings: {self.psnr_known:.1f} dB; "
            f"drawings it has never seen: {self.psnr_strangers:.1f} dB.",
            f"{self.prompts} prompts of unseen combinations, guidance {self.guidance:g}; "
            f"{self.seconds_a_picture:.2f} seconds a picture.",
            f"Subjects that look nearly the same in two styles, which count as one: {shared or 'nothing'}.",
            "",
            "| criterion | judge, real pictures through the autoencoder | base | base relative to judge |",
            "| --- | --- | --- | --- |",
        ]
        for criterion, own in self.own.items():
            drawn = self.drawn[criterion]
            relative = f"{drawn.value / own.value:.1%}" if own.value else "-"
            lines.append(f"| {criterion} | {own} | {drawn} | {relative} |")
        return "\n".join(lines)

    def save(self, file: Path) -> None:
        """As JSON."""
        file.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
