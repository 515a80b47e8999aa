"""P+ learns a word with vectors of its own for each layer of cross-attention (extended textual inversion).

arXiv:2303.09522, sections 3 and 4. A prompt with the word is encoded once for each layer, with that layer's vectors,
and each layer reads its own encoding. Other prompts are encoded once. The words of the layers are those of textual
inversion, opened together under names that no prompt has.

Dimensions: L layers of cross-attention, P positions, W width of the hidden states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from re import Pattern
from typing import Any, ClassVar

from torch import nn

from ..base import Base, Conditioning, Owner
from ..patching.joint import Joint
from ..patching.patch import Tensors
from ..prompt.runs import Said
from ..prompt.words import whole_word
from ..settings import setting
from . import Depth, Method, method_named
from .word import LearnsWord, WordSettings

INVERSION = "textual-inversion"
Encode = Callable[[Sequence[Said]], Conditioning]


@dataclass(frozen=True)
class Settings(WordSettings):
    lr: float = setting(5e-3, "learning rate of the optimiser", least=0)
    vectors: int = setting(1, "vectors (tokens) the word is made of, in each layer", least=1)


class PPlus(LearnsWord[Settings], Method[Settings]):
    name: ClassVar[str] = "p-plus"
    title = "P+"
    settings_class = Settings
    opens_at = Depth.WORDS
    one_concept = "it learns one word"
    usual = False

    def refusal(self, base: Base) -> str:
        if base.denoiser.context_width:
            return ""
        return (
            "it gives each layer of cross-attention a word of its own, and the denoiser of "
            f"{base.family.title} has none: text and picture go through the same layers; take {INVERSION}"
        )

    def start(self, base: Base, settings: Settings, seed: int) -> Tensors:
        """The start word's vectors, the same for each layer."""
        first = method_named(INVERSION).start(base, _inversion(settings, settings.token), seed)
        return {f"{path}.{name}": rows.clone() for path in _layers(base) for name, rows in first.items()}

    @contextmanager
    def patch(
        self, base: Base, settings: Settings, tensors: Tensors, strength: float = 1.0, owner: Owner = None
    ) -> Iterator[Joint]:
        inversion, layers, words = method_named(INVERSION), _layers(base), {}
        tokens = [f"{settings.token}~{place}~" for place in range(len(layers))]
        with ExitStack() as undo:
            for token, path in zip(tokens, layers, strict=True):
                own = {
                    name.removeprefix(f"{path}."): rows for name, rows in tensors.items() if name.startswith(f"{path}.")
                }
                opened = inversion.patch(base, _inversion(settings, token), own, strength, owner)
                words[path] = undo.enter_context(opened)
            for place, layer in enumerate(layers.values()):
                undo.callback(layer.register_forward_pre_hook(_reads(base, place), with_kwargs=True).remove)
            undo.enter_context(_encoded_by_layer(base, words, settings.token, tokens, owner))
            yield Joint(words, prefixed=True)


def _inversion(settings: Settings, token: str) -> Any:
    names = ("vectors", "start_word", "length", "shuffle")
    shared = {name: value for name, value in asdict(settings).items() if name in names}
    return method_named(INVERSION).configure(shared, {"token": token})


def _layers(base: Base) -> dict[str, nn.Module]:
    """The denoiser's layers of cross-attention [L], by their paths."""
    return {path: layer for path, layer in base.denoiser.module.named_modules() if path.endswith(".attn2")}


def _reads(base: Base, place: int) -> Callable[..., Any]:
    """A hook by which a layer reads its own hidden states of the current call, if there are any."""

    def before(layer: nn.Module, inputs: tuple[Any, ...], given: dict[str, Any]) -> Any:
        states = base.rows.layers
        return None if states is None else (inputs, {**given, "encoder_hidden_states": states[:, place]})

    return before


@contextmanager
def _encoded_by_layer(
    base: Base, words: dict[str, Any], token: str, tokens: Sequence[str], owner: Owner
) -> Iterator[None]:
    """Encode the owner's prompts with the word once for each layer."""
    encode, count, word = base.encode, len(tokens), whole_word(token)

    def patched(prompts: Sequence[Said]) -> Conditioning:
        plain, strength = encode(prompts), next(iter(words.values())).strength
        own = [row for row in base.rows.of(owner, len(prompts)) if strength and _said(prompts[row], word)]
        if not own:
            return plain
        asked = [_named(prompts[row], word, layer) for row in own for layer in tokens]
        with base.rows.folded([count if row in own else 0 for row in range(len(prompts))]):
            each = encode(asked).split([count] * len(own))
        rows = plain.split([1] * len(prompts))
        for row, layers in zip(own, each, strict=True):
            rows[row] = _one(layers)
        return Conditioning.cat(rows)

    base.encode = patched
    try:
        yield
    finally:
        base.encode = encode


def _one(layers: Conditioning) -> Conditioning:
    """One row, from the encodings of a prompt for each layer. What all layers share is the mean of them."""
    count = len(layers)
    states = layers.hidden if layers.layers is None else layers.layers[range(count), range(count)]
    pooled = None if layers.pooled is None else layers.pooled.mean(0, keepdim=True)
    mask = None if layers.mask is None else layers.mask[:1]
    return Conditioning(states.mean(0, keepdim=True), pooled, mask, states.unsqueeze(0))


def _said(prompt: Said, word: Pattern[str]) -> bool:
    return any(word.search(text) for text, _ in ([(prompt, 1.0)] if isinstance(prompt, str) else prompt.runs))


def _named(prompt: Said, word: Pattern[str], name: str) -> Said:
    """The prompt with another name in place of the word."""
    if isinstance(prompt, str):
        return word.sub(lambda _: name, prompt)
    return replace(prompt, runs=tuple((word.sub(lambda _: name, text), weight) for text, weight in prompt.runs))
