"""What a verdict is, as frozen values, and as the JSON that other programs read."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from ..errors import TriptychError
from ..options import Need as Need
from ..scores import Cost
from .intervals import LEVEL, Interval

SCHEMA = 4

NEEDS: tuple[Need, ...] = get_args(Need)
Grade = Literal["yes", "probably", "cannot tell", "probably not", "no"]
Comparison = Literal["better", "worse", "no difference", "undecided"]


@dataclass(frozen=True)
class Margins:
    """The differences that matter to a person: stated before anything is measured, and only here.

    both: a tenth of the way from nothing (the bare base, or a prompt that is forgotten) to the real pictures with
        everything there that was asked for. The headline figure, of which every question is asked.
    fidelity: a tenth of the way from the bare base to the real pictures. In one published LoRA run, DINOv2 similarity
        moves between .649 and .759 from checkpoint to checkpoint; a smaller margin would call such noise a difference.
    preservation: a tenth of the way from the same picture (1) to the picture of another prompt (0).
    prompt: a tenth of the way from chance to what real pictures reach.
    copies: one picture in ten is a training picture over again.
    cosine: a difference in what an encoder sees: diversity, consistency, memorisation. One twentieth of the scale; the
        distance of centroids is a square, twice as large for the same cosine (1 - cosine is half a squared distance),
        and CLIPScore is 2.5 cosines.
    vendi: in effective pictures. One tenth of a picture.
    gap: the smallest distance, in cosine, between the bare base and the real pictures for which fidelity means
        anything. Below it the base already draws the subject, and normalising would only magnify noise.
    """

    both: float = 0.10
    fidelity: float = 0.10
    preservation: float = 0.10
    prompt: float = 0.10
    copies: float = 0.10
    cosine: float = 0.05
    vendi: float = 0.10
    gap: float = 0.05

    def of(self, criterion: str) -> float | None:
        """The margin of a criterion in its own unit; None where none was stated, and so nothing can be the same."""
        stated = {
            "both": self.both, "fidelity": self.fidelity, "leakage": self.fidelity, "portability": self.fidelity,
            "prompt_fidelity": self.prompt, "base_preservation": self.preservation, "subject_fidelity": self.cosine,
            "diversity": self.cosine, "consistency": self.cosine, "memorisation": self.cosine,
            "centroid_distance": 2 * self.cosine, "vendi": self.vendi, "class_drift": self.cosine,
            "copying": self.copies, "clip_score": 2.5 * self.cosine,
        }  # fmt: skip
        return stated.get(criterion, self.prompt if criterion.startswith("prompt_") else None)


MARGINS = Margins()

# How an answer is graded: "yes" and "no" are tests at the level of all claims; these are posterior probabilities.
PROBABLY = 0.80  # from which the answer is "probably" or "probably not"
CONVINCED = 0.90  # from which a study that goes on until it is decided stops


@dataclass(frozen=True)
class Anchors:
    """Where fidelity is 0 (class word on the bare base) and 1 (real pictures among themselves); cosine, -1..1."""

    floor: Interval | None
    ceiling: Interval | None  # without ends: a handful of reference pictures is not resampled
    usable: bool
    prompts: float | None = None  # what the real pictures reach in prompt fidelity, asked by their captions; 0..1
    reseeded: float | None = None  # preservation of the bare base with other seeds: what nothing has disturbed

    @property
    def gap(self) -> float:
        """Ceiling less floor; 0 where one of them was not measured."""
        return self.ceiling.value - self.floor.value if self.floor and self.ceiling else 0.0


@dataclass(frozen=True)
class Difference:
    """`method` less `other` in one criterion, paired over the same runs, prompts and seeds.

    `decision` says whether `method` is better or worse, in the criterion's own direction, or whether there is no
    difference that matters. The p-values are those of the whole two-sided interval, adjusted for all pairs of
    methods in the criterion, or all that hold a combination; that of equivalence is None where no margin is stated.
    """

    criterion: str
    method: str
    other: str
    interval: Interval
    decision: Comparison = "undecided"
    margin: float | None = None
    p_difference: float = 1.0
    p_equivalence: float | None = None
    needed: str = ""  # where undecided: what would decide it, and what that costs


@dataclass(frozen=True)
class Further:
    """How much in all would decide an open question. `seconds`: what it takes beyond this study; None: not known."""

    prompts: int  # that name the concept, one picture each
    trainings: int  # of each method
    seconds: float | None = None


@dataclass(frozen=True)
class Answer:
    """A graded answer, and what it rests on.

    `probability`: that the answer is right; of "cannot tell", that yes would be. None where nothing can be said.
    `further`: what would decide it, where more measuring can.
    """

    answer: Grade
    evidence: str
    probability: float | None = None
    further: Further | None = None


@dataclass(frozen=True)
class Choice:
    """What to take for one need. `method` is None where nothing can be recommended; the reasons say why."""

    method: str | None
    runner_up: str | None
    reasons: tuple[str, ...]
    caveats: tuple[str, ...] = ()
    would_change: str = ""  # what would make it another
    regret: float | None = None  # the chance that another is better for the need by more than the margin, 0..1
    rival: str | None = None  # the one that most likely is, where one may be
    further: Further | None = None  # what would tell it from the runner-up


@dataclass(frozen=True)
class Recommendation:
    need: Need
    choice: Choice
    by_need: Mapping[Need, Choice]


@dataclass(frozen=True)
class Look:
    """One look of a study at its scores: how many prompts it had, and the chance of a false claim that it spent."""

    prompts: int
    alpha: float


@dataclass(frozen=True)
class SecondEncoder:
    """What another image encoder sees of the same pictures.

    `usable`: whether it tells the real pictures from the bare base's; else it says nothing. `both`: method -> the
    headline figure by its likeness. `against`: a sentence for each claim that it does not share.
    """

    name: str
    usable: bool
    both: Mapping[str, Interval]
    against: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """Everything judged about one study. `methods`: name -> criterion -> interval; in the study's order."""

    methods: Mapping[str, Mapping[str, Interval]]
    base: Mapping[str, Interval]
    anchors: Anchors
    differences: tuple[Difference, ...]
    front: tuple[str, ...]
    answers: Mapping[str, Answer]
    recommendation: Recommendation
    costs: Mapping[str, Cost]
    failures: Mapping[str, str]
    notes: tuple[str, ...]
    replicates: int
    flags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # method -> what to beware of
    strata: Mapping[str, Mapping[str, Interval]] = field(
        default_factory=dict
    )  # method -> stratum of prompts -> headline
    needs: Mapping[Need, Mapping[str, float]] = field(default_factory=dict)  # need -> criterion -> its weight
    together: Mapping[str, Answer] = field(default_factory=dict)  # combination -> do its parts reinforce each other
    looks: tuple[Look, ...] = ()  # of a study that went on until it was decided, the last one included
    second_encoders: tuple[SecondEncoder, ...] = ()  # other image encoders
    margins: Margins = MARGINS
    seed: int = 0
    level: float = LEVEL
    schema: int = field(default=SCHEMA)

    def to_json(self) -> str:
        """The text of verdict.json. An end of an interval that is not known is null."""
        data = asdict(self)
        choice = data["recommendation"].pop("choice")
        data["recommendation"] = {"need": data["recommendation"].pop("need"), **choice, **data["recommendation"]}
        data["anchors"]["gap"] = self.anchors.gap
        return json.dumps(finite(data), indent=1, allow_nan=False) + "\n"

    @staticmethod
    def from_json(text: str) -> "Verdict":
        """What `to_json` wrote.

        Raises:
            TriptychError: the text is not a verdict, or one of another version.
        """
        try:
            data = json.loads(text)
            if data["schema"] != SCHEMA:
                raise TriptychError(f"this verdict has format {data['schema']}, not {SCHEMA}; judge the study again")
            return _verdict(data)
        except (ValueError, KeyError, TypeError) as error:
            raise TriptychError(f"this is not a verdict: {error!r}; judge the study again") from error


def finite(value: Any) -> Any:
    """The same for JSON, which has no infinity: None in place of each number that is not finite."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _verdict(data: dict[str, Any]) -> Verdict:
    recommendation = data["recommendation"]
    anchors = data["anchors"]
    return Verdict(
        methods={name: _intervals(criteria) for name, criteria in data["methods"].items()},
        base=_intervals(data["base"]),
        anchors=Anchors(
            floor=_interval(anchors["floor"]) if anchors["floor"] else None,
            ceiling=_interval(anchors["ceiling"]) if anchors["ceiling"] else None,
            usable=anchors["usable"],
            prompts=anchors["prompts"],
            reseeded=anchors["reseeded"],
        ),
        differences=tuple(Difference(**{**row, "interval": _interval(row["interval"])}) for row in data["differences"]),
        front=tuple(data["front"]),
        answers={name: _answer(answer) for name, answer in data["answers"].items()},
        recommendation=Recommendation(
            need=recommendation["need"],
            choice=_choice(recommendation),
            by_need={need: _choice(choice) for need, choice in recommendation["by_need"].items()},
        ),
        costs={
            name: Cost(**{**cost, "trained_with": tuple(cost["trained_with"])}) for name, cost in data["costs"].items()
        },
        failures=data["failures"],
        notes=tuple(data["notes"]),
        replicates=data["replicates"],
        flags={name: tuple(sentences) for name, sentences in data["flags"].items()},
        strata={name: _intervals(strata) for name, strata in data["strata"].items()},
        needs=data["needs"],
        together={name: _answer(answer) for name, answer in data["together"].items()},
        looks=tuple(Look(**look) for look in data["looks"]),
        second_encoders=tuple(
            SecondEncoder(encoder["name"], encoder["usable"], _intervals(encoder["both"]), tuple(encoder["against"]))
            for encoder in data.get("second_encoders", ())
        ),
        margins=Margins(**data["margins"]),
        seed=data["seed"],
        level=data["level"],
    )


def _intervals(criteria: dict[str, Any]) -> dict[str, Interval]:
    return {name: _interval(interval) for name, interval in criteria.items()}


def _interval(data: dict[str, Any]) -> Interval:
    low, high = data["low"], data["high"]
    return Interval(data["value"], -math.inf if low is None else low, math.inf if high is None else high, data["n"])


def _choice(data: dict[str, Any]) -> Choice:
    return Choice(
        data["method"], data["runner_up"], tuple(data["reasons"]), tuple(data["caveats"]), data["would_change"],
        data["regret"], data["rival"], _further(data["further"]),
    )  # fmt: skip


def _answer(data: dict[str, Any]) -> Answer:
    return Answer(data["answer"], data["evidence"], data["probability"], _further(data["further"]))


def _further(data: dict[str, Any] | None) -> Further | None:
    return Further(**data) if data else None
