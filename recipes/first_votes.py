"""Counts the maintainers' blind votes on the first study of each concept of the first results.

    python -m recipes.first_votes --out OUT

reads docs/first-results/votes/CONCEPT.json, each saved by the page of OUT/CONCEPT/SEED, and writes
docs/first-results/votes.md, which `recipes.first_results` takes into its page. It needs the pictures of the studies.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from recipes.first_results import CONCEPTS, PAGE
from triptych.report.reading import read
from triptych.report.tally import Share, Tally, tally
from triptych.verdict.evidence import BOTH
from triptych.verdict.words import title

FOLDER = PAGE.with_suffix("")


def line(concept: str, recommended: str | None, counted: Tally) -> str:
    """One row of the table."""
    own = [pair.share for pair in counted.preferences if pair.method == recommended]
    taken = Share(sum(share.count for share in own), sum(share.of for share in own))
    agrees = next((each.share for each in counted.agreements if each.criterion == BOTH), Share(0, 0))
    cannot_tell = sum(pair.cannot_tell for pair in counted.preferences)
    pick = title(recommended) if recommended else "none"
    return f"| {concept} | {pick} | {taken if recommended else ''} | {cannot_tell} | {agrees} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the studies")
    parser.add_argument("--seed", type=int, default=2, help="of the studies that were voted on")
    given = parser.parse_args()
    lines = [
        "| concept | recommended | taken when it was shown | could not tell | both at once agrees |",
        "|---|---|---|---|---|",
    ]
    warnings = []
    for concept in CONCEPTS:
        file, study = FOLDER / "votes" / f"{concept}.json", given.out / concept / str(given.seed)
        if file.is_file() and (counted := tally(reading := read(study), study, [file])):
            lines.append(line(concept, reading.verdict.recommendation.choice.method, counted))
            warnings += [f"- {concept}: {sentence}" for sentence in counted.warnings]
    text = "\n".join([*lines, "", *warnings]).rstrip() + "\n"
    (FOLDER / "votes.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
