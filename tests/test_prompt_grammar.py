"""Weights, schedules, AND and chunks of prompts: what A1111's documents say of them, and that no text fails."""

from __future__ import annotations

import subprocess
import sys
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import triptych
from triptych.errors import TriptychError
from triptych.prompt import (
    chunks,
    conjunction,
    emphasis,
    escape,
    read_conjunction,
    read_emphasis,
    read_schedule,
    schedule,
    write,
)

EMPHASIS = ("a1111", "a1111-exact", "comfy", "compel", "none")
SCHEDULE = ("a1111", "a1111-exact", "a1111-1.5")
BREAK = ("BREAK", -1.0)


def near(runs: list[tuple[str, float]]) -> list[tuple[str, float]]:
    return [(text, round(weight, 6)) for text, weight in runs]


@pytest.mark.parametrize(
    ("prompt", "runs"),
    [
        ("", [("", 1)]),
        ("a fox", [("a fox", 1)]),
        ("(x)", [("x", 1.1)]),
        ("((x))", [("x", 1.21)]),
        ("[x]", [("x", 0.909091)]),
        ("[[x]]", [("x", 0.826446)]),
        ("([x])", [("x", 1)]),
        ("[(a:1.5)]", [("a", 1.363636)]),
        ("(x:1.3)", [("x", 1.3)]),
        ("(x: 1.3 )", [("x", 1.3)]),
        ("(x:+1.3)", [("x", 1.3)]),
        ("(x:-0.5)", [("x", -0.5)]),
        ("(a:.5)", [("a", 0.5)]),
        ("(a:1.)", [("a", 1)]),
        ("(a:0)", [("a", 0)]),
        ("(a (b:1.2) c:1.5)", [("a ", 1.5), ("b", 1.8), (" c", 1.5)]),
        ("((a:1.3))", [("a", 1.43)]),
        ("((a):1.3)", [("a", 1.43)]),
        ("[a:1.3]", [("a:1.3", 0.909091)]),
        ("(a", [("a", 1.1)]),
        ("b [a", [("b ", 1), ("a", 0.909091)]),
        ("(a:1.3", [("a:1.3", 1.1)]),
        ("(a:)", [("a:", 1.1)]),
        ("(a:b:1.3)", [("a:b", 1.3)]),
        ("(a:1.3e1)", [("a:1.3e1", 1.1)]),
        ("a:1.3)", [("a:1.3)", 1)]),
        ("a)", [("a)", 1)]),
        ("a]b", [("a]b", 1)]),
        ("(a]", [("a]", 1.1)]),
        ("(a [b) c]", [("a ", 1.1), ("b", 1), (" c", 0.909091)]),
        (r"\(a\) \[b\] \\", [("(a) [b] \\", 1)]),
        (r"(\(a\):1.2)", [("(a)", 1.2)]),
        (r"\a", [("a", 1)]),
        (r"(a\:1.2)", [("a:1.2", 1.1)]),
        ("(a)(b)", [("ab", 1.1)]),
        ("a BREAK b", [("a", 1), BREAK, ("b", 1)]),
        ("BREAK BREAK", [BREAK, BREAK]),
        ("a BREAKFAST", [("a BREAKFAST", 1)]),
        (r"a \BREAK", [("a BREAK", 1)]),
        ("a AND b", [("a AND b", 1)]),
        ("(((x)))", [("x", 1.331)]),
        ("((((x))))", [("x", 1.4641)]),
        ("[[[x]]]", [("x", 0.751315)]),
        ("((x:1.2):1.5)", [("x", 1.8)]),
        ("(x:1.2)y", [("x", 1.2), ("y", 1)]),
        ("a (b) c", [("a ", 1), ("b", 1.1), (" c", 1)]),
        ("a [b] c", [("a ", 1), ("b", 0.909091), (" c", 1)]),
        ("(a:1.2)(b:0.8)", [("a", 1.2), ("b", 0.8)]),
        ("(a, b:1.2)", [("a, b", 1.2)]),
        ("([a:1.5])", [("a:1.5", 1)]),
        ("[((x))]", [("x", 1.1)]),
        ("((a) b)", [("a", 1.21), (" b", 1.1)]),
        ("(a [b] c:1.5)", [("a ", 1.5), ("b", 1.363636), (" c", 1.5)]),
        ("(a:2)", [("a", 2)]),
        ("(a:  2  )", [("a", 2)]),
        ("(a :1.5)", [("a ", 1.5)]),
        ("( a )", [(" a ", 1.1)]),
        ("()", [("", 1)]),
        ("(:1.5)", [("", 1)]),
        ("(a)b(c)", [("a", 1.1), ("b", 1), ("c", 1.1)]),
        ("((a)", [("a", 1.21)]),
        ("[[a]", [("a", 0.826446)]),
        ("(a) b)", [("a", 1.1), (" b)", 1)]),
        (r"(a\)b)", [("a)b", 1.1)]),
        (r"\\(a)", [("\\", 1), ("a", 1.1)]),
        ("a BREAK (b:1.2)", [("a", 1), BREAK, ("b", 1.2)]),
        ("a, BREAK, b", [("a,", 1), BREAK, (", b", 1)]),
        ("a break b", [("a break b", 1)]),
        ("(a)[b]", [("a", 1.1), ("b", 0.909091)]),
        ("(масло:1.2)", [("масло", 1.2)]),
        ("a\nb", [("a\nb", 1)]),
        ("(a:1,2)", [("a:1,2", 1.1)]),
        ("(a:1.5)(a:1.5)", [("aa", 1.5)]),
        ("a (b (c (d)))", [("a ", 1), ("b ", 1.1), ("c ", 1.21), ("d", 1.331)]),
        ("(a:1.3):1.2", [("a", 1.3), (":1.2", 1)]),
    ],
)
def test_weights_of_a1111(prompt: str, runs: list[tuple[str, float]]) -> None:
    assert near(emphasis(prompt)) == runs
    if "\\:" not in prompt:
        assert near(emphasis(prompt, "a1111-exact")) == runs


@pytest.mark.parametrize(
    ("mode", "prompt", "runs"),
    [
        ("comfy", "(a (b:1.2) c:1.5)", [("a ", 1.5), ("b", 1.2), (" c", 1.5)]),
        ("comfy", "((a))", [("a", 1.21)]),
        ("comfy", "((a):1.3)", [("a", 1.43)]),
        ("comfy", "[a] (b", [("[a] (b", 1)]),
        ("comfy", "(:1.2)", [(":1.2", 1.1)]),
        ("comfy", r"\(a\) \x BREAK", [(r"(a) \x BREAK", 1)]),
        ("compel", "picking apricots++", [("picking ", 1), ("apricots", 1.21)]),
        ("compel", "(picking apricots+)++", [("picking ", 1.21), ("apricots", 1.331)]),
        ("compel", "(a (b)1.3)1.1, c", [("a ", 1.1), ("b", 1.43), (", c", 1)]),
        ("compel", "a-- [b] high-end (c)", [("a", 0.81), (" [b] high-end (c)", 1)]),
        ("none", "(a:1.3) BREAK", [("(a:1.3) BREAK", 1)]),
    ],
)
def test_weights_of_others(mode: str, prompt: str, runs: list[tuple[str, float]]) -> None:
    assert near(emphasis(prompt, mode)) == runs


@pytest.mark.parametrize(
    ("prompt", "steps", "entries"),
    [
        ("a fox", 10, [(10, "a fox")]),
        ("a [b:c:0.5] d", 10, [(5, "a b d"), (10, "a c d")]),
        ("[a:b:0.25]", 10, [(2, "a"), (10, "b")]),
        ("[a:b:.5]", 10, [(5, "a"), (10, "b")]),
        ("[a:b: 5 ]", 10, [(5, "a"), (10, "b")]),
        ("[a:b:1]", 10, [(1, "a"), (10, "b")]),
        ("[a:b:1.0]", 10, [(10, "a")]),
        ("[a:b:5.]", 10, [(10, "a")]),
        ("[a:b:99]", 10, [(10, "a")]),
        ("[a:b:0]", 10, [(10, "b")]),
        ("[a:b:-1]", 10, [(10, "b")]),
        ("[a:b:0.05]", 10, [(10, "b")]),
        ("[a:b:1e1]", 20, [(10, "a"), (20, "b")]),
        ("[b:5]", 10, [(5, ""), (10, "b")]),
        ("[a::5]", 10, [(5, "a"), (10, "")]),
        ("[a:[b:c:6]:3]", 8, [(3, "a"), (6, "b"), (8, "c")]),
        ("(x [c:d:5]:1.2)", 10, [(5, "(x c:1.2)"), (10, "(x d:1.2)")]),
        ("[(a:1.2):b:2]", 4, [(2, "(a:1.2)"), (4, "b")]),
        ("[a|b|]", 4, [(1, "a"), (2, "b"), (3, ""), (4, "a")]),
        ("[[a|b]:c:2]", 3, [(1, "a"), (2, "b"), (3, "c")]),
        (r"[a\|b:c\:d:2]", 4, [(2, r"a\|b"), (4, r"c\:d")]),
        ("[a:b:+3]", 10, [(3, "a"), (10, "b")]),
        ("[a:b:0.75]", 8, [(6, "a"), (8, "b")]),
        ("[a:b:0.33]", 10, [(3, "a"), (10, "b")]),
        ("[a:b:0.5]", 1, [(1, "b")]),
        ("[a:b:10]", 10, [(10, "a")]),
        ("[a:b:9]", 10, [(9, "a"), (10, "b")]),
        ("[a:b:2.5]", 10, [(10, "a")]),
        ("[a:b:0.0]", 10, [(10, "b")]),
        ("[:b:5]", 10, [(5, ""), (10, "b")]),
        ("[a::0.5]", 10, [(5, "a"), (10, "")]),
        ("x [b:5] y", 10, [(5, "x  y"), (10, "x b y")]),
        ("[ a : b :5]", 10, [(5, " a "), (10, " b ")]),
        ("[a:b:2][c:d:4]", 6, [(2, "ac"), (4, "bc"), (6, "bd")]),
        ("[a:b:2] [c:d:2]", 4, [(2, "a c"), (4, "b d")]),
        ("[a|b|c]", 5, [(1, "a"), (2, "b"), (3, "c"), (4, "a"), (5, "b")]),
        ("[|a]", 3, [(1, ""), (2, "a"), (3, "")]),
        ("x [a|b] y", 2, [(1, "x a y"), (2, "x b y")]),
        ("[a|[b:c:2]]", 4, [(1, "a"), (2, "b"), (3, "a"), (4, "c")]),
        ("[[a:b:1]:c:3]", 4, [(1, "a"), (3, "b"), (4, "c")]),
        ("[[a:3]:b:5]", 6, [(3, ""), (5, "a"), (6, "b")]),
        ("[a (b:1.2):c:2]", 4, [(2, "a (b:1.2)"), (4, "c")]),
        ("[[a]:b:2]", 4, [(2, "[a]"), (4, "b")]),
        ("[Ω:ß:1]", 2, [(1, "Ω"), (2, "ß")]),
        *((text, 10, [(10, text)]) for text in (
            "[a:b:50%]", "(a:b:0.5)", "[a:b]", "[a:b:c]", "[a:b:c:5]", "[a:b:5", "[a,b|c d:1.2]", "[a]", "((a))", "",
            "[a|b", "a|b", "[a:b:0.5.1]", "{a:b:5}", "a]b:5]",
        )),
    ],
)  # fmt: skip
def test_schedules_of_a1111(prompt: str, steps: int, entries: list[tuple[int, str]]) -> None:
    assert schedule(prompt, steps) == entries
    assert schedule(prompt, steps, "a1111-exact") == entries


def test_the_step_that_a1111_is_late_and_the_older_rule() -> None:
    assert schedule("[a:b:0.5]", 10, late=True) == [(6, "a"), (10, "b")]
    assert schedule("[a|b]", 4, late=True) == [(2, "a"), (3, "b"), (4, "a")]
    assert schedule("[a:b:3]", 4, late=True) == [(4, "a")]
    assert schedule("[a:b:0.5] [c:d:1.0]", 4, "a1111-1.5") == [(1, "a c"), (2, "a d"), (4, "b d")]
    assert [read_schedule("[a:b:2]", 3).text(step) for step in (1, 2, 3)] == ["a", "a", "b"]


@pytest.mark.parametrize(
    ("prompt", "pieces"),
    [
        (" a fox ", [(" a fox ", 1)]),
        ("a cat AND a dog", [("a cat", 1), ("a dog", 1)]),
        ("a cat :1.2 AND a dog: -.8", [("a cat", 1.2), ("a dog", -0.8)]),
        ("a AND b:1. AND c", [("a", 1), ("b", 1), ("c", 1)]),
        ("sand ANDY and", [("sand ANDY and", 1)]),
        ("AND", [("", 1), ("", 1)]),
        ("a:b:2 AND c", [("a:b", 2), ("c", 1)]),
        ("a:1e1 AND c", [("a:1e1", 1), ("c", 1)]),
        ("a AND b AND c", [("a", 1), ("b", 1), ("c", 1)]),
        ("a:+1.5 AND b : 0", [("a", 1.5), ("b", 0)]),
        ("(a AND b)", [("(a", 1), ("b)", 1)]),
        ("a AND b AND", [("a", 1), ("b", 1), ("", 1)]),
        ("aAND b", [("aAND b", 1)]),
        ("a\nAND\nb", [("a", 1), ("b", 1)]),
    ],
)
def test_and(prompt: str, pieces: list[tuple[str, float]]) -> None:
    assert conjunction(prompt) == pieces


DEFECTS = [
    (read_emphasis, "(a BREAK b:1.2)", 3, "BREAK", (("a", 1.2), BREAK, ("b", 1.2)),
     (("a", 1.2), ("BREAK", -1.2), ("b", 1.2))),
    (read_emphasis, "(a 16:9)", 3, "16:9", (("a 16:9", 1.1),), (("a 16", 9.0),)),
    (read_emphasis, "(a:1.2.3)", 2, ":1.2.3", (("a:1.2.3", 1.1),), (("a:1.2.3", 1.1),)),
    (read_conjunction, "a, 16:9", 5, ":9", (("a, 16:9", 1.0),), (("a, 16", 9.0),)),
    (read_conjunction, "a:1.2", 1, ":1.2", (("a:1.2", 1.0),), (("a", 1.2),)),
    (read_conjunction, "a 4:3 AND b", 3, ":3 ", (("a 4:3", 1.0), ("b", 1.0)), (("a 4", 3.0), ("b", 1.0))),
]  # fmt: skip


@pytest.mark.parametrize(("read", "prompt", "position", "piece", "sensible", "exact"), DEFECTS)
def test_defects_are_warnings(read, prompt, position, piece, sensible, exact) -> None:  # type: ignore[no-untyped-def]
    for mode, expected in (("a1111", sensible), ("a1111-exact", exact)):
        result = read(prompt, mode)
        assert (getattr(result, "runs", None) or result.pieces) == expected
        assert [(one.position, one.piece) for one in result.warnings] == [(position, piece)]
        assert f"at position {position}" in str(result.warnings[0])


@pytest.mark.parametrize(
    ("prompt", "position", "entries"),
    [
        ("x | [a:b:2]", 2, ((2, "x | a"), (4, "x | b"))),
        ("[(a|b):c:2]", 3, ((2, "(a|b)"), (4, "c"))),
        ("[a:b:2]\\", 7, ((2, "a\\"), (4, "b\\"))),
    ],
)
def test_what_switches_schedules_off(prompt: str, position: int, entries: tuple[tuple[int, str], ...]) -> None:
    read = read_schedule(prompt, 4)
    assert (read.entries, [one.position for one in read.warnings]) == (entries, [position])
    exact = read_schedule(prompt, 4, "a1111-exact")
    assert (exact.entries, [one.position for one in exact.warnings]) == (((4, prompt),), [position])


def test_a_bracket_inside_a_schedule_without_its_other_half() -> None:
    assert schedule("[a (b:c:2]", 4) == [(2, "a (b"), (4, "c")]
    assert schedule("[a (b:c:2]", 4, "a1111-exact") == [(4, "[a (b:c:2]")]


MARKED = st.recursive(
    st.sampled_from(["a", "fox ", "AND", " BREAK ", ":", "|", "16:9", "\\", "\\(", ":)", ":1.2.3", "c++", ", ", "\n",
                     "[", ")"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map("".join),
        st.builds("({}:{})".format, inner, st.sampled_from(["1.2", "-3", ".5", "1e400", "9" * 400, " 0 "])),
        st.builds("[{}:{}:{}]".format, inner, inner, st.sampled_from(["0.5", "3", "-1", "1e400", "9" * 400, "0.", ""])),
        st.builds("[{}|{}]".format, inner, inner),
        st.builds("({})".format, inner),
        st.builds("[{}]".format, inner),
        st.builds("{} AND {}:0.7".format, inner, inner),
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(st.one_of(st.text(max_size=60), MARKED), st.integers(1, 12))
def test_no_prompt_fails(prompt: str, steps: int) -> None:
    for mode in EMPHASIS:
        read = read_emphasis(prompt, mode)
        assert read.runs and all(abs(weight) < float("inf") for _, weight in read.runs)
        assert all(prompt[one.position :].startswith(one.piece) for one in read.warnings)
    for mode in SCHEDULE:
        for late in (False, True):
            result = read_schedule(prompt, steps, mode, late)
            ends = [end for end, _ in result.entries]
            assert ends == sorted(set(ends)) and ends[0] >= 1 and ends[-1] == steps
            assert all(prompt[one.position :].startswith(one.piece) for one in result.warnings)
    for mode in ("a1111", "a1111-exact"):
        assert read_conjunction(prompt, mode).pieces
    parts = chunks([run for run in emphasis(prompt) if run != BREAK], len, room=7, backtrack=3)
    assert "".join(text for part in parts for text, _ in part) == "".join(
        text for text, weight in emphasis(prompt) if (text, weight) != BREAK
    )
    assert all(sum(len(text) for text, _ in part) <= 7 for part in parts)


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=40))
def test_text_is_preserved(text: str) -> None:
    assert emphasis(escape(text)) == [(text, 1.0)]
    assert schedule(escape(text), 5) == [(5, escape(text))]
    assert conjunction(escape(text)) == [(escape(text), 1.0)]


WEIGHT = st.floats(-100, 100, allow_nan=False).filter(bool)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.text(min_size=1, max_size=8), WEIGHT), min_size=1, max_size=5))
def test_runs_are_written_and_read_again(runs: list[tuple[str, float]]) -> None:
    apart = [run for at, run in enumerate(runs) if not at or run[1] != runs[at - 1][1]]
    apart = [run for at, run in enumerate(apart) if not at or run[1] != apart[at - 1][1]]
    again = emphasis(write(apart))
    assert "".join(text for text, _ in again) == "".join(text for text, _ in apart)
    if all(one[1] != other[1] for one, other in pairwise(apart)):
        assert again == apart


LONG = [
    "(" * 4000, "(" * 1000 + "a" + ")" * 1000, "[a:" * 1000 + ":2]" * 1000, " " * 4000, "([" * 1000 + ")]" * 1000,
    "(" * 2000 + "]" * 2000, "a AND " * 1000, "\\" * 2001,
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("prompt", LONG, ids=range(len(LONG)))
def test_long_and_deep_prompts_are_quick(prompt: str) -> None:
    begun = time.process_time()
    assert emphasis(prompt) and schedule(prompt, 3) and conjunction(prompt)
    assert time.process_time() - begun < 5


def words(text: str) -> int:
    return len(text.replace(",", " , ").split())


def test_chunks() -> None:
    def sizes(prompt: str, **more: int) -> list[int]:
        return [sum(words(text) for text, _ in part) for part in chunks(emphasis(prompt), words, **more)]

    assert sizes("") == [0]
    assert sizes("a " * 75) == [75]
    assert sizes("a " * 76) == [75, 1]
    assert sizes("a " * 60 + ", " + "b " * 40) == [61, 40]
    assert sizes("a " * 55 + ", " + "b " * 40) == [56, 40]  # the comma is the twentieth from the end
    assert sizes("a " * 54 + ", " + "b " * 40) == [75, 20]  # and here the one before it
    assert sizes("a " * 60 + ", " + "b " * 40, backtrack=0) == [75, 26]
    assert sizes("a BREAK b c BREAK") == [1, 2, 0]
    assert chunks([("a ", 1.0), ("b c", 1.5)], words, room=2) == [[("a ", 1.0), ("b", 1.5)], [(" c", 1.5)]]


def test_unknown_modes_and_no_steps() -> None:
    with pytest.raises(TriptychError, match="did you mean 'comfy'"):
        emphasis("a", "comfyui")
    with pytest.raises(TriptychError, match="no mode"):
        schedule("a", 5, "x")
    with pytest.raises(TriptychError, match="1 step or more"):
        schedule("a", 0)


def test_the_grammar_needs_no_torch() -> None:
    code = "import sys, triptych; triptych.prompt.emphasis('(a)'); assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert triptych.prompt.conjunction("a AND b") == [("a", 1.0), ("b", 1.0)]
