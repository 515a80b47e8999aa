"""docs/performance.md says what its JSON files say."""

from benchmarks.performance_page import PAGE, page
from benchmarks.training_step import Case, Ratio, measure, ratio_of


def test_the_page_is_what_the_files_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m benchmarks.performance_page"


def test_a_ratio_is_taken_within_a_round() -> None:
    machine = iter([1.0, 2.0, 4.0])  # how slow it is, a round at a time
    slow = [1.0]

    def bare(steps: int) -> list[float]:
        slow[0] = next(machine)
        return [slow[0]] * steps

    cases = [Case("bare", 4, bare), Case("joint", 4, lambda steps: [3 * slow[0]] * steps)]
    rounds = measure(cases, 3, 2)
    told = ratio_of(Ratio("joint", "joint", ("bare", "bare"), 0.5, 1.0), rounds)
    assert (told["ratio"], told["lowest"], told["highest"]) == (0.75, 0.75, 0.75)
