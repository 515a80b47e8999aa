"""What a mix will keep of its files, foretold before a picture is sampled: one step for each file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ..base import Base, Place
from ..exchange.formats import open_artifact
from ..mixing.merge import merge
from ..mixing.request import Mix
from ..study.judged import words_of
from ..study.layout import Layout
from ..study.progress import Progress, Silent
from .foretold import USUAL
from .members import attached, work_of
from .plan import DilutionPlan
from .response import Probe, attached_to
from .whole import as_difference, as_differences


@dataclass(frozen=True)
class Ahead:
    """What is foretold of a file: the distance of the mix from the file alone, and the retention by the usual curve."""

    file: str
    distance: float
    retention: float

    def __str__(self) -> str:
        return f"about {self.retention:.2f} of {self.file} will be kept (distance {self.distance:.2f})"


def foretell_mix(
    mix: Mix, plan: DilutionPlan, progress: Progress, opened: Callable[[Place], Base] = Place.open
) -> list[Ahead]:
    """Foretell what a mix keeps of each of its files. It is made in a folder that is deleted.

    The curve from distance to retention was fitted on LoRAs of the embedded base, so for another base the order of
    mixes is told rather than the figures.

    Args:
        plan: the files with the folders of their pictures, and the place of the base.

    Raises:
        TriptychError: bad input, or files that are attached to no base.
    """
    with TemporaryDirectory() as folder:
        made = Path(folder) / "mix.safetensors"
        merge(mix, made)
        differences = Path(folder) / "differences"
        plan, _ = as_differences(plan, [], differences, progress.note)
        mixed = as_difference(made, plan.place.source, differences, Silent().note)
        base, probes = opened(plan.place), dict[str, Probe]()
        for source in plan.sources:
            work, artifact = work_of(plan, source, base, Layout(Path(folder)), progress), open_artifact(source.file)
            says = source.says or words_of(source.file, artifact, work.concept, progress.note)
            probes[source.file.name] = Probe.of(work, says, attached(source.file))
        with attached_to(base, attached(mixed)):
            distances = {name: probe.response().distance for name, probe in probes.items()}
    return [Ahead(name, distance, USUAL(distance)) for name, distance in distances.items()]
