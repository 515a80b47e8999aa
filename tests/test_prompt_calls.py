"""Tags in prompts, as A1111 reads them; markup that is noticed; whole words."""

from __future__ import annotations

import pytest

from triptych.errors import TriptychError
from triptych.prompt.calls import Call, Read, read_calls
from triptych.prompt.markup import markup_in, read_as_text
from triptych.prompt.words import whole_word


@pytest.mark.parametrize(
    ("prompt", "text", "called"),
    [
        ("a dog", "a dog", []),
        ("a <lora:x:0.5> dog", "a dog", [Call("lora", "x", 0.5, 0.5)]),
        (
            "<hypernet:y:1><lyco:z:0.2:1> dog", "dog",
            [Call("hypernet", "y", 1.0, 1.0), Call("lora", "z", 0.2, 1.0)],
        ),
        ("dog <lora:x>", "dog", [Call("lora", "x")]),
        ("dog <lora:x:te=0.5:unet=1>", "dog", [Call("lora", "x", 0.5, 1.0)]),
        ("dog <lora:x:unet=0.4>", "dog", [Call("lora", "x", 1.0, 0.4)]),
        ("dog <lora:x:te=0.3>", "dog", [Call("lora", "x", 0.3, 0.3)]),
        ("dog <lora:x:0.7:unet=0>", "dog", [Call("lora", "x", 0.7, 0.0)]),
        ("dog <lora:x:1:0.5:8>", "dog", [Call("lora", "x", 1.0, 0.5, 8)]),
        ("dog <lora:x:dyn=4>", "dog", [Call("lora", "x", ranks=4)]),
        ("dog <lora: x y : -1 >", "dog", [Call("lora", "x y", -1.0, -1.0)]),
        ("<LoRA:x:.5> dog", "dog", [Call("lora", "x", 0.5, 0.5)]),
        ("dog <lora:x:0.5:lbw=MIDD>", "dog", [Call("lora", "x", 0.5, 0.5, blocks="MIDD")]),
        ("dog <aesthetic:x:0.5>", "dog", [Call("aesthetic", "x", 0.5, 0.5)]),
        ("a <concept> dog", "a <concept> dog", []),
        ("1 < 2: a > b", "1 < 2: a > b", []),
    ],
)  # fmt: skip
def test_what_a_prompt_calls(prompt: str, text: str, called: list[Call]) -> None:
    assert read_calls(prompt) == Read(text, tuple(called))


@pytest.mark.parametrize(
    ("prompt", "notes"),
    [
        ("<lora:x:1:lbw=MIDD:lbwe=1,0:stop=10>", ("'lbwe=1,0'",)),
        ("<lora:x:1:1:4:9>", ("'9'",)),
        ("<hypernet:x:1:te=0.2:dyn=3>", ("'dyn=3'",)),
        ("a <style:x> dog", ("<style:x> is left out",)),
    ],
)
def test_what_is_not_used_is_said(prompt: str, notes: tuple[str, ...]) -> None:
    said = read_calls(prompt).notes
    assert len(said) == len(notes)
    assert all(note in sentence for note, sentence in zip(notes, said, strict=True))


@pytest.mark.parametrize(
    ("tag", "why"),
    [
        ("<lora:x:much>", "is not a number"),
        ("<lora:x:te=>", "is not a number"),
        ("<lora:x:nan>", "-100 to 100"),
        ("<lora:x:unet=inf>", "-100 to 100"),
        ("<hypernet:x:1e9>", "-100 to 100"),
        ("<lora:x:1:1:0>", "whole number from 1"),
        ("<lora:x:dyn=2.5>", "whole number from 1"),
        ("<lora:x:1:stop=half>", "whole number from 0"),
        ("<lora:x:1@0-0.5:0.5@0.5-1>", "two courses"),
    ],
)
def test_absurd_strengths_are_refused(tag: str, why: str) -> None:
    with pytest.raises(TriptychError, match=why):
        read_calls(f"a {tag} dog")


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("a dog, sand, breakfast", []),
        ("a (dog:1.2) and a (dog:1.2)", [(2, "(dog:1.2)")]),
        ("[cat:dog:0.5] AND a house BREAK (red)", [(0, "[cat:dog:0.5]"), (14, "AND"), (26, "BREAK"), (32, "(red)")]),
        (r"a dog \(noto\) :)", []),
        ("a ((big) dog)", [(2, "((big) dog)")]),
        ("[a|b]", [(0, "[a|b]")]),
        ("an (unclosed one", [(3, "(unclosed one")]),
    ],
)
def test_markup_is_noticed(prompt: str, found: list[tuple[int, str]]) -> None:
    assert markup_in(prompt) == found
    assert bool(read_as_text(prompt)) == bool(found)


@pytest.mark.parametrize(
    ("word", "text", "places"),
    [
        ("sks", "desks sks SKS, sks2 (sks) sks-dog", 4),
        ("<concept>", "a<concept>s <Concept>", 2),
        ("a.b", "a.b axb a.bc", 1),
        ("C++", "C++ C+++", 2),
        ("katze", "Katze katzen", 1),
    ],
)
def test_whole_words(word: str, text: str, places: int) -> None:
    assert len(whole_word(word).findall(text)) == places
