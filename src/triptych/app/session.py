"""A session runs the use cases for a surface: the command line is one, a server can be another.

It keeps opened bases between calls. Its calls may come from several threads: calls for one base run one after another,
calls for different bases at the same time. A call with a `Cancel` can be cancelled from another thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

from ..base import Base, Place
from ..cancel import Cancel
from ..dilution.ahead import Ahead, foretell_mix
from ..dilution.plan import Arm, DilutionPlan
from ..dilution.result import Result
from ..dilution.run import dilution
from ..dilution.search import Found, search
from ..mixing.request import Mix
from ..study import Plan, Progress, Silent, run
from ..study.judging import Judgement, JudgeRequest, judge_files
from ..study.many import Many, run_many
from ..study.tuned import Tuned
from ..study.tuning import tune
from ..verdict import Verdict
from .asked import SampleRequest
from .axes import Axis
from .bases import Bases
from .board import Board
from .check import Checked, CheckRequest, check_folder
from .compare import GridResult, compare
from .explain import Explained, explain
from .judges import Judges
from .sample import sample_files
from .scenes import ScenesRequest, ScenesResult, sample_scenes
from .sweep import SweepRequest, SweepResult, sweep
from .train import TrainRequest, TrainResult, train_file

MEMORY = 24 * 2**30  # bytes


class Session:
    """Trains, samples, studies, judges, tunes and measures mixes, on bases that it keeps open.

    All calls take a `Progress` to report to and a `Cancel`. A cancelled call raises `Cancelled`; what was finished
    before is on disk. A training stops at the end of its step, after its state is written; sampling between two steps;
    a study between its units.

    Args:
        memory: the most bytes of weights to keep open between calls. The base whose last use is longest ago is closed
            first. The base of a running call stays open. A base whose files change is opened anew after `close`.
    """

    def __init__(self, memory: int = MEMORY) -> None:
        self.bases = Bases(memory)

    def train(
        self,
        request: TrainRequest,
        out: Path,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        *,
        resume: bool = False,
        overwrite: bool = False,
    ) -> TrainResult:
        """Train one method and write one file, as `train_file`.

        Raises:
            TriptychError: as `train_file`.
            Cancelled: the token is set. A `Stopped` says after which step; the same call with `resume` goes on.
        """
        with self._call(cancel) as opened:
            return train_file(request, out, progress or Silent(), resume=resume, overwrite=overwrite, opened=opened)

    def sample(
        self,
        request: SampleRequest,
        place: Place,
        out: Path,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> list[Path]:
        """Sample pictures and write each, as `sample_files`.

        Raises:
            TriptychError: as `sample_files`.
            Cancelled: the token is set. Pictures that were ready are written.
        """
        with self._call(cancel) as opened:
            return sample_files(request, place, out, progress or Silent(), opened=opened)

    def explain(
        self,
        request: SampleRequest,
        place: Place,
        out: Path,
        judges: Judges | None = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> list[Explained]:
        """Sample pictures, and each without each of its files in turn, as `explain.explain`.

        Raises:
            TriptychError: as `explain.explain`.
            Cancelled: the token is set. Pictures that were ready are written, without the report.
        """
        with self._call(cancel) as opened:
            return explain(request, place, out, progress or Silent(), judges or Judges(), opened)

    def grid(
        self,
        axes: Sequence[Axis],
        request: SampleRequest,
        place: Place,
        out: Path,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> GridResult:
        """Sample a grid of pictures that differ in what varies, as `compare`. Its bases are lent one after the other.

        Raises:
            TriptychError: as `compare`.
            Cancelled: the token is set. Pictures that were ready are written, without the sheet and the page.
        """

        @contextmanager
        def lent(place: Place) -> Iterator[Base]:
            with self._call(cancel) as opened:
                yield opened(place)

        return compare(axes, request, place, out, progress or Silent(), lent)

    def scenes(
        self,
        request: ScenesRequest,
        place: Place,
        out: Path,
        judges: Judges | None = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> ScenesResult:
        """Sample a character in many scenes and measure how consistent it is, as `sample_scenes`.

        Raises:
            TriptychError: as `sample_scenes`.
            Cancelled: the token is set. Pictures that were ready are written, without the report.
        """
        with self._call(cancel) as opened:
            return sample_scenes(request, place, out, progress or Silent(), judges or Judges(), opened)

    def study(self, plan: Plan, out: Path, progress: Progress | None = None, cancel: Cancel | None = None) -> Verdict:
        """Run what is missing of a study, as `study.run`. The plan's other base, if any, is opened for this call alone.

        Raises:
            TriptychError: as `study.run`.
            Cancelled: the token is set. The same call goes on.
        """
        with self._call(cancel) as opened:
            return run(plan, out, progress or Silent(), opened=opened)

    def study_many(
        self, plans: Mapping[str, Plan | str], out: Path, progress: Progress | None = None, cancel: Cancel | None = None
    ) -> Many:
        """Run what is missing of the studies of many concepts and join them, as `study.many.run_many`.

        Raises:
            TriptychError: as `run_many`.
            Cancelled: the token is set. The same call goes on.
        """
        shown = progress or Silent()
        return run_many(plans, out, shown, lambda plan, place: self.study(plan, place, shown, cancel))

    def judge(
        self, request: JudgeRequest, out: Path, progress: Progress | None = None, cancel: Cancel | None = None
    ) -> Judgement:
        """Judge trained files, as `study.judging.judge_files`. A checkpoint is opened for its pictures alone.

        Raises:
            TriptychError: as `judge_files`.
            Cancelled: the token is set. The same call goes on.
        """
        with self._call(cancel) as opened:
            return judge_files(request, out, progress or Silent(), opened=opened)

    def tune(
        self,
        plans: Sequence[Plan],
        trials: int,
        out: Path,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Tuned:
        """Search settings of methods, as `study.tuning.tune`.

        Raises:
            TriptychError: as `tune`.
            Cancelled: the token is set. The same call goes on.
        """
        with self._call(cancel) as opened:
            return tune(plans, trials, out, progress or Silent(), opened=opened)

    def dilution(
        self,
        plan: DilutionPlan,
        out: Path,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        *,
        single: Sequence[Arm] = (),
    ) -> Result:
        """Measure what mixes keep of their files, as `dilution.run.dilution`.

        Raises:
            TriptychError: as `dilution`.
            Cancelled: the token is set. The same call goes on.
        """
        with self._call(cancel) as opened:
            return dilution(plan, out, progress or Silent(), single, opened)

    def search_mix(
        self,
        mix: Mix,
        plan: DilutionPlan,
        trials: int,
        out: Path,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        *,
        by_block: bool = False,
    ) -> Found:
        """Search the mix that loses least, as `dilution.search.search`.

        Raises:
            TriptychError: as `search`.
            Cancelled: the token is set. The same call goes on.
        """
        with self._call(cancel) as opened:
            return search(mix, plan, trials, by_block, out, progress or Silent(), opened)

    def foretell_mix(
        self, mix: Mix, plan: DilutionPlan, progress: Progress | None = None, cancel: Cancel | None = None
    ) -> list[Ahead]:
        """Foretell what a mix keeps of its files, as `dilution.ahead.foretell_mix`.

        Raises:
            TriptychError: as `foretell_mix`.
            Cancelled: the token is set.
        """
        with self._call(cancel) as opened:
            return foretell_mix(mix, plan, progress or Silent(), opened)

    def check(self, request: CheckRequest, progress: Progress | None = None, cancel: Cancel | None = None) -> Checked:
        """Check a folder, as `check_folder`.

        Raises:
            TriptychError: as `check_folder`.
            Cancelled: the token is set.
        """
        with self._call(cancel) as opened:
            return check_folder(request, progress, opened)

    def sweep(self, request: SweepRequest, out: Path, board: Board, cancel: Cancel | None = None) -> SweepResult:
        """Train many jobs, as `app.sweep.sweep`.

        Raises:
            TriptychError: as `sweep`.
            Cancelled: the token is set. The same call goes on.
        """
        with self._call(cancel) as opened:
            return sweep(request, out, board, opened)

    def close(self) -> None:
        """Close the bases that no call uses."""
        self.bases.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _call(self, cancel: Cancel | None) -> Iterator[Callable[[Place], Base]]:
        """A call with its token. The base that it opens is lent to it until it ends."""
        cancel = cancel or Cancel()
        with cancel.applied(), ExitStack() as lent:
            cancel.check()
            yield lambda place: lent.enter_context(self.bases.lent(place))
