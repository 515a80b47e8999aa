"""Simulated scores whose truth is known, for the tests of the verdict."""

from collections.abc import Mapping, Sequence

import numpy as np

from triptych.scores import BASE, Cost, Score
from triptych.verdict import Verdict

FLOOR, CEILING = 0.3, 0.8
TI, HN, LORA, DB = "textual-inversion", "hypernetwork", "lora", "dreambooth"
BYTES = {TI: 4_000, HN: 900_000, LORA: 300_000, DB: 25_000_000}
COSTS = [
    Cost(name, name != DB, BYTES[name] // 4, BYTES[name], 200, 1600, seconds_alone=seconds)
    for name, seconds in {TI: 20.0, HN: 30.0, LORA: 40.0, DB: 90.0}.items()
]


def simulate(
    fidelity: Mapping[str, float],
    preservation: Mapping[str, float] | None = None,
    *,
    runs: int = 3,
    prompts: int = 8,
    seeds: int = 3,
    noise: float = 0.03,
    between_runs: float = 0.004,
    seed: int = 0,
    crossed: bool = False,
) -> list[Score]:
    """Scores of a study with the given true fidelity (normalised) and preservation.

    Every picture has a seed of its own, or the same seeds stand at all prompts (`crossed`).
    """
    random = np.random.default_rng(seed)
    hard = random.normal(0, 0.05, prompts)  # a hard prompt is hard for every method
    scores = [Score("ceiling", "real", CEILING + random.normal(0, 0.02)) for _ in range(6)]
    cosines = {method: FLOOR + truth * (CEILING - FLOOR) for method, truth in {BASE: 0.0, **fidelity}.items()}
    for metric, truths in (("subject_fidelity", cosines), ("base_preservation", preservation or {})):
        for method, level in truths.items():
            for run in range(1 if method == BASE else runs):
                moved = level + (0 if method == BASE else random.normal(0, between_runs))
                for prompt in range(prompts):
                    for one in range(seeds):
                        value = moved + hard[prompt] + random.normal(0, noise)
                        number = one if crossed else prompt * seeds + one
                        scores.append(Score(metric, method, value, run, f"a cat, {prompt}", number))
    return scores


def follows(scores: Sequence[Score], prompts: Mapping[str, float], noise: float = 0.02) -> list[Score]:
    """Prompt fidelity at these levels, 0 to 1, for the pictures whose likeness the scores tell; the base keeps all."""
    random = np.random.default_rng(1)
    return [
        Score(
            "prompt_fidelity",
            s.method,
            float(np.clip(level + random.normal(0, noise), 0, 1)),
            s.replicate,
            s.prompt,
            s.seed,
        )
        for s in scores
        if s.metric == "subject_fidelity" and (level := {BASE: 1.0, **prompts}.get(s.method)) is not None
    ]


def decisions(verdict: Verdict) -> dict[str, str]:
    return {name.split("_")[0]: answer.answer for name, answer in verdict.answers.items()}
