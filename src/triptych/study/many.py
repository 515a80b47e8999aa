"""Studies of many concepts, one after the other, joined into one verdict and one page.

A concept that fails does not stop the others; its reason is on the page. What is on disk is reused, so the same command
goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..data.collections import Entry, concepts_in
from ..errors import Remedy, TriptychError
from ..files.atomic import make_folder, write_text
from ..options import StudyOptions
from ..records import ConceptRecord, ConceptsRecord
from ..report.concepts import OVER, build_concepts
from ..verdict import Verdict
from ..verdict.many import over_concepts
from .plan import Plan
from .progress import Progress

Study = Callable[[Plan, Path], Verdict]  # runs what is missing of a study in a folder


@dataclass(frozen=True)
class Many:
    """What came of many concepts: their verdicts by name, why others have none, and the verdict over all of them.

    `over` is None where fewer than two concepts have a headline figure.
    """

    verdicts: Mapping[str, Verdict]
    failures: Mapping[str, str]
    over: Verdict | None
    page: Path


def plans_of(places: Sequence[Path], options: StudyOptions, note: Callable[[str], None]) -> dict[str, Plan | str]:
    """Concept -> the plan of its study, or why it has none. What the user states goes before what a collection says.

    Raises:
        TriptychError: a place cannot be read, or the options are bad.
    """
    found = concepts_in(places, class_word=options.class_word, token=options.token, only=options.only)
    for line in found.notes:
        note(line)
    return {entry.name: entry.unfit or _plan(entry, options) for entry in found.entries}


def _plan(entry: Entry, options: StudyOptions) -> Plan:
    own = {name: getattr(options, name) or getattr(entry, name) for name in ("class_word", "kind", "only")}
    return Plan.of(entry.place, replace(options, **own))


def run_many(plans: Mapping[str, Plan | str], out: Path, progress: Progress, study: Study) -> Many:
    """Run the studies into folders of `out`, and join them. The page is written anew after each.

    Raises:
        TriptychError: no concept has a verdict, or `out` holds a study.
    """
    if (out / "verdict.json").exists():
        raise TriptychError(f"{out} holds the study of one concept", Remedy.OTHER_PLACE)
    make_folder(out)
    many = Many({}, {name: plan for name, plan in plans.items() if isinstance(plan, str)}, None, out / "report.html")
    if many.failures:
        progress.note(_unfit(many.failures))
    studied = {name: plan for name, plan in plans.items() if isinstance(plan, Plan)}
    for number, (name, plan) in enumerate(studied.items(), start=1):
        progress.note(f"concept {number} of {len(studied)}: {name}")
        try:
            many = replace(many, verdicts={**many.verdicts, name: study(plan, out / name)})
        except TriptychError as error:
            progress.note(f"{name} has no verdict: {error}")
            many = replace(many, failures={**many.failures, name: str(error)})
        many = _joined(plans, many, out)
    if not many.verdicts:
        name, reason = next(iter(many.failures.items()))
        raise TriptychError(f"none of {len(many.failures)} concepts has a verdict; {name}: {reason}")
    return many


def _unfit(failures: Mapping[str, str]) -> str:
    first = next(iter(failures))
    others = f" and {len(failures) - 1} more concepts" if len(failures) > 1 else ""
    return f"{first}{others} cannot be studied: {failures[first]}"


def _joined(plans: Mapping[str, Plan | str], many: Many, out: Path) -> Many:
    """The verdict over the concepts so far, and the page."""
    plan = next(plan for plan in plans.values() if isinstance(plan, Plan))
    over = over_concepts(many.verdicts, need=plan.need, seed=plan.seed)
    (out / OVER).unlink(missing_ok=True)  # of other concepts, which the page would show
    if over:
        write_text(out / OVER, over.to_json())
    done = (name for name in plans if name in many.verdicts or name in many.failures)
    ConceptsRecord(tuple(ConceptRecord(name, many.failures.get(name, "")) for name in done)).write(out)
    build_concepts(out)
    return replace(many, over=over)
