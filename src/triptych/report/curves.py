"""The losses of each method over its training, as plots and as words, and the steps that were chosen by them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean

from markupsafe import Markup

from ..scores import parts_of
from ..verdict.words import title
from . import plots
from .colours import slot
from .plots import Line
from .reading import Reading, Trial

CHOSEN = (
    "The step at which its training was kept or stopped (keep = best or patience) was chosen on pictures that are used"
    " neither for training nor for measuring, so it had fewer training pictures than the others."
)


@dataclass(frozen=True)
class Curve:
    method: str
    plot: Markup
    summary: str


def curves(reading: Reading, methods: Sequence[str]) -> list[Curve]:
    """One plot per method, all on the same loss axis. A method without a logged loss has none."""
    runs = {name: [trial for trial in reading.trials if trial.method == name] for name in methods}
    means = {name: [smooth(trial.losses) for trial in trials if len(trial.losses) > 1] for name, trials in runs.items()}
    fixed = {name: [trial.fixed for trial in trials if len(trial.fixed) > 1] for name, trials in runs.items()}
    lines_of = {name: [*means[name], *fixed[name]] for name in runs}
    losses = [loss for lines in lines_of.values() for line in lines for _, loss in line]
    if not losses:
        return []
    low, high = min(losses), max(max(losses), min(losses) + 1e-6)
    found = []
    for name, trials in runs.items():
        lines = lines_of[name]
        if not lines:
            continue
        steps = max(trials[0].steps, *(step for line in lines for step, _ in line))
        words = f"{title(name)} over {steps:,} steps" + _change("training loss", means[name])
        words += _change("loss on the fixed batch", fixed[name])
        plot = Markup(plots.curve(means[name], fixed[name], slot(name), steps, low, high, words))
        found.append(Curve(name, plot, _summary(trials)))
    return found


def chosen(reading: Reading, methods: Sequence[str]) -> tuple[str, ...]:
    """The methods and combinations with a run whose last or kept step was chosen on pictures."""
    decided = {trial.method for trial in reading.trials if _is_chosen(trial)}
    return tuple(name for name in methods if decided & set(parts_of(name)))


def _is_chosen(trial: Trial) -> bool:
    settings = dict(trial.settings)
    return settings.get("keep") == "best" or settings.get("patience", "0") != "0"


def _summary(trials: Sequence[Trial]) -> str:
    kept = sorted({trial.kept_step for trial in trials if _is_chosen(trial)})
    words = f"{trials[0].steps:,} steps, learning rate {trials[0].rate:g}"
    return words + (f", kept: step {', '.join(f'{step:,}' for step in kept)}" if kept else "")


def _change(name: str, lines: Sequence[Line]) -> str:
    """The first and the last loss, each a mean over the runs, for screen readers."""
    if not lines:
        return ""
    first, last = (fmean(line[at][1] for line in lines) for at in (0, -1))
    return f"; {name} from {first:.3g} to {last:.3g}"


def smooth(curve: Line, points: int = 80) -> list[tuple[int, float]]:
    """The running mean over a tenth of the run, since single losses are mostly noise.

    Args:
        points: the number of steps kept is about this.
    """
    losses = [loss for _, loss in curve]
    window = max(len(losses) // 10, 1)
    means = [
        (step, sum(losses[max(index - window + 1, 0) : index + 1]) / min(index + 1, window))
        for index, (step, _) in enumerate(curve)
        if index >= window - 1
    ]
    return list(islice(means, 0, None, max(len(means) // points, 1)))
