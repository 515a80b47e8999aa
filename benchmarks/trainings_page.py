"""The parts of docs/verdict.md on trainings: the stated prior, what it does for few of them, and threads and builds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.page_parts import curve, percent
from triptych.verdict import NEEDS
from triptych.verdict.summary import QUESTIONS, graded
from triptych.verdict.values import Answer
from triptych.verdict.words import title


def prior(told: dict[str, Any]) -> Iterator[str]:
    """The stated prior, and how it foretells each concept from the others."""
    stated = told["prior"]
    yield "### The stated prior"
    yield ""
    yield (
        f"`{told['command']} --json docs/verdict/prior.json`, from two quick studies of each of six examples that"
        f" differ in their seed: a spread of {stated['spread']:.2f} between trainings of a method"
        f" ({stated['freedom']:g} degrees of freedom), and of {stated['shared']:.2f} in what all methods share"
        f" ({stated['shared_freedom']:g}). The rule is in `benchmarks/prior.py`; it was fixed before its figures were"
        " computed. Each study chose strengths and moments of its own, so the spread includes that."
    )
    yield ""
    yield (
        "Each concept is foretold from the others: in how many of its ten pairs of methods two trainings differ by less"
        " than half, 80 % and 95 % of pairs should."
    )
    yield ""
    yield "| concept | its own spread | chance of its pictures | prior from the others | within 50 % | 80 % | 95 % |"
    yield "|---|---|---|---|---|---|---|"
    for row in told["concepts"]:
        others = f"{row['others']['spread']:.2f}, {row['others']['freedom']:g} degrees"
        inside = " | ".join(f"{count} of {row['pairs']}" for count in row["inside"].values())
        yield f"| {row['concept']} | {row['own_spread']:.3f} | {row['pictures']:.3f} | {others} | {inside} |"
    yield f"| all | | | | {' | '.join(f'{100 * share:.0f} %' for share in told['inside'].values())} |"


def few(told: dict[str, Any]) -> Iterator[str]:
    """Studies of few trainings, with the prior and without."""
    yield "### Few trainings"
    yield ""
    yield (
        f"`python -m benchmarks.few_trainings --json docs/verdict/few.json`: {told['studies']} studies a row,"
        " without the stated prior and with it. “As stated”: each method's spread is drawn from the prior. Else all"
        " methods have the same, or two of them each; 0.15 is far beyond what is stated. False claims are about pairs,"
        " the greater of “equal” and “apart”; false answers are of the concepts whose grades are shown."
    )
    yield ""
    yield (
        "| study | spread between trainings | prior | false claims | yes or no | probably, 90 % and more |"
        " cannot tell | false yes or no |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for row in told["rows"]:
        spread = "as stated" if row["drawn"] else " or ".join(f"{one:.2f}" for one in dict.fromkeys(row["between"]))
        grades = row["grades"]
        shares = [grades[name] for name in ("decided", "probably, 90 % and more", "cannot tell")]
        cells = " | ".join(f"{100 * share:.0f} %" for share in shares)
        wrong = max(row["equal"][0], row["margin"][0])
        yield (
            f"| {row['name']}, {row['runs']} x {row['prompts']} | {spread} | {'stated' if row['prior'] else 'none'} |"
            f" {100 * wrong:.1f} % | {cells} | {100 * row['wrong']:.1f} % |"
        )
    yield ""
    yield (
        "So where all methods spread far beyond what is stated, two trainings often fail to show it, and then more is"
        " false than the level allows. Before the F test was added, after a first run, it was 27 % with two trainings"
        " at 0.15 and 25 % at `standard`."
    )
    yield ""
    yield "The probabilities of these answers where spreads are as stated, with the prior:"
    yield ""
    yield from curve(told["answers"])
    for row in told["sequential"]:
        sure = row["grades"]["decided"] + row["grades"]["probably, 90 % and more"]
        yield ""
        yield (
            f"Until it is decided, with {row['runs']} trainings and at most {row['most']} prompts, the same spreads and"
            f" the prior: {percent(max(row['equal'], row['margin']))} of studies make a false claim at any look,"
            f" {100 * sure:.0f} % of answers are decided or 90 % sure, after {row['prompts']:.0f} prompts on average."
        )


def threads(told: dict[str, Any]) -> Iterator[str]:
    """What one study says under several numbers of threads and builds of torch."""
    yield "### Threads, builds and processors"
    yield ""
    yield (
        f"`{told['command']}` runs `{told['study']}` in each way, with nothing kept from another. Trainings differ in"
        " their last digits, and by the end in more of them."
    )
    yield ""
    yield (
        "On this base a study shares its stages between processes of one thread (see"
        " [performance](performance.md#processes-of-a-study)), so its result depends neither on the number of cores nor"
        " on that of threads. It depends on the build of torch and on the kind of processor. All columns are of one"
        " processor, which computes in bfloat16. A processor without AVX-512, which computes in float32, says (`make"
        " try`) what the last column does: LoRA 0.37, DreamBooth 0.26, the hypernetwork 0.01; whether DreamBooth is"
        " excessive cannot be told (yes with 58 %), a hypernetwork is no middle ground (over 99 %), and LoRA is"
        " recommended for every need."
    )
    yield ""
    runs = told["runs"]
    yield f"| | {' | '.join(_way(run) for run in runs)} |"
    yield "|---" * (len(runs) + 1) + "|"
    for name, (_, question) in QUESTIONS.items():
        said = [graded(Answer(run["answers"][name][0], "", run["answers"][name][1])) for run in runs]
        yield f"| {question} | {' | '.join(said)} |"
    for need in NEEDS:
        taken = [title(run["recommended"][need]) if run["recommended"][need] else "nothing" for run in runs]
        yield f"| recommended for {need} | {' | '.join(taken)} |"
    for method in dict.fromkeys(method for run in runs for method in run["both"]):
        figures = [f"{run['both'][method]:.2f}" if method in run["both"] else "" for run in runs]
        yield f"| {title(method)}, both at once | {' | '.join(figures)} |"


def _way(run: dict[str, Any]) -> str:
    return f"{run['threads']} thread{'s' * (run['threads'] > 1)}, torch {run['torch']}"
