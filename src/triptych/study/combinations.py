"""The names of combinations: several methods whose results are attached at once."""

from __future__ import annotations

from ..errors import TriptychError, did_you_mean
from ..methods import method_named, methods
from ..scores import AND, parts_of

NAMES = {"word": "textual-inversion", "embedding": "textual-inversion"}
GROUPS = {
    "all": ("word+hypernetwork+lora",),
    "leave-one-out": ("word+hypernetwork+lora", "hypernetwork+lora", "word+lora", "word+hypernetwork"),
}


def combinations_of(text: str) -> tuple[str, ...]:
    """Read a list such as `word+lora,all` as names of combinations, such as `textual-inversion+lora`, each once.

    `all` is the word, the hypernetwork and the LoRA at once. `leave-one-out` is `all`, and `all` without each of them.

    Raises:
        TriptychError: an unknown method, a method twice in one combination, or a combination of one.
    """
    names = (name.strip() for name in text.split(",") if name.strip())
    return tuple(dict.fromkeys(_combination(member) for name in names for member in GROUPS.get(name, (name,))))


def _combination(name: str) -> str:
    if AND not in name and name not in methods():
        near = did_you_mean(name, GROUPS)
        raise TriptychError(
            f"there is no combination {name!r}: join methods as in word+lora, or say {', '.join(GROUPS)}{near}"
        )
    parts = parts_of(AND.join(NAMES.get(part.strip(), part.strip()) for part in name.split(AND)))
    for part in parts:
        method_named(part)
    if len(set(parts)) < max(2, len(parts)):
        raise TriptychError(f"the combination {name!r} must have two or more different methods, as in word+lora")
    return AND.join(sorted(parts, key=lambda part: (-method_named(part).opens_at, part)))
