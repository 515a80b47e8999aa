"""Edits and maps of words: from what is asked of pictures to what is done with their attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from ..base import Base
from ..errors import TriptychError
from ..prompt.runs import Said
from .attention import Attending, Steered, aligned, positions_of, tokens_of
from .request import Edit, Guide, Request


def with_sources(singles: Sequence[Request]) -> tuple[list[Request], dict[int, tuple[int, Edit]], list[int]]:
    """The pictures with those that edits begin from, in the same order of owners.

    Returns:
        All pictures; place of an edited one -> the place of its source, and the edit; the places of those asked for.
    """
    found: list[Request] = []
    edited: dict[int, tuple[int, Edit]] = {}
    wanted: list[int] = []
    for single in singles:
        if single.edit:
            edited[len(found) + 1] = (len(found), single.edit)
            found.append(replace(single, edit=None, heat=()))
            found.append(replace(single, prompt=(Guide(single.edit.prompt),)))
        else:
            found.append(single)
        wanted.append(len(found) - 1)
    return found, edited, wanted


def attending_to(base: Base, singles: Sequence[Request], edited: dict[int, tuple[int, Edit]]) -> Attending | None:
    """What is done with the attention of pictures; None where nothing is.

    Raises:
        TriptychError: a prompt does not have a word that is asked for, or changes over the steps.
    """
    watched = {i: single for i, single in enumerate(singles) if single.heat}
    if not edited and not watched:
        return None
    if any(single.regions for single in singles):
        raise TriptychError("regions go neither with edits nor with maps of words")
    attending = Attending()
    for i, single in watched.items():
        attending.words[i] = {word: positions_of(base, _said(single), word, single.owner) for word in single.heat}
    for i, (source, edit) in edited.items():
        attending.edits[i] = _steered(base, singles[source], singles[i], source, edit)
        for place, positions in zip((source, i), attending.edits[i].only, strict=True):
            if positions:
                attending.words.setdefault(place, {})[" ".join(edit.only)] = positions
    return attending


def _steered(base: Base, before: Request, after: Request, source: int, edit: Edit) -> Steered:
    said = [_said(before), _said(after)]
    tokens = [tokens_of(base, text, before.owner) for text in said]
    room = base.texts[0].room + 2
    keys = room * max(1 + max((at for _, at in own), default=0) // room for own in tokens)
    columns, taken = aligned(tokens[0], tokens[1], keys)
    weights = torch.ones(keys)
    for word, factor in edit.weights:
        weights[list(positions_of(base, said[1], word, after.owner))] = factor
    only = tuple(_among(base, text, edit.only, before) for text in said)
    if edit.only and not any(only):
        raise TriptychError(f"neither of the prompts has the words {', '.join(edit.only)}")
    return Steered(source, edit.keep, edit.keep_layout, columns, taken, weights, (only[0], only[1]))


def _among(base: Base, said: Said, words: Sequence[str], single: Request) -> tuple[int, ...]:
    """The positions of those of the words that a prompt has."""
    found: list[int] = []
    for word in words:
        try:
            found += positions_of(base, said, word, single.owner)
        except TriptychError:
            continue  # it is in the other prompt
    return tuple(found)


def _said(single: Request) -> Said:
    """What the prompt of a picture says, at all steps alike.

    Raises:
        TriptychError: there are several prompts, or it changes over the steps.
    """
    (guide, *others) = single.guides
    if others:
        raise TriptychError("AND does not go with edits and maps of words: give one prompt")
    first = guide.at(0, 1000)
    if any(guide.at(call, 1000) != first for call in range(1000)):
        raise TriptychError("edits and maps of words need a prompt that does not change over the steps")
    return first
