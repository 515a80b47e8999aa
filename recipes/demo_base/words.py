"""The tokenizer: a CLIP tokenizer with a vocabulary of its own, learned from the words of the world.

Sennrich, Haddow and Birch (2016), byte pair encoding, run until every word of the world is one token. Any other string
still spells: in pieces that it shares with those words, at worst in single bytes.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

from transformers import CLIPTokenizer

END_OF_WORD = "</w>"
START, END = "<|startoftext|>", "<|endoftext|>"
POSITIONS = 77

Pair = tuple[str, str]


def byte_symbols() -> list[str]:
    """One printable character per byte, in the order of the vocabulary of GPT-2 and CLIP: printable bytes stand for
    themselves, the others for characters from 256 upwards."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]


def learn_merges(words: list[str]) -> list[Pair]:
    """Merge the most frequent neighbouring pair (ties: the first in the alphabet) until every word is one symbol."""
    spelled = [[*word[:-1], word[-1] + END_OF_WORD] for word in words]
    merges: list[Pair] = []
    while True:
        pairs = Counter(pair for word in spelled for pair in pairwise(word))
        if not pairs:
            return merges
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        spelled = [join(word, best) for word in spelled]


def join(word: list[str], pair: Pair) -> list[str]:
    """A spelled word with every occurrence of a pair made one symbol."""
    joined: list[str] = []
    for symbol in word:
        if joined and (joined[-1], symbol) == pair:
            joined[-1] += symbol
        else:
            joined.append(symbol)
    return joined


def build_tokenizer(words: list[str], folder: Path) -> CLIPTokenizer:
    """Make the tokenizer in which every given word is one token, save it to `folder` and open it from there."""
    symbols = byte_symbols()
    merges = learn_merges(words)
    pieces = [*symbols, *(symbol + END_OF_WORD for symbol in symbols), *dict.fromkeys("".join(pair) for pair in merges)]
    vocabulary = {piece: i for i, piece in enumerate([*dict.fromkeys(pieces), START, END])}
    tokenizer = CLIPTokenizer(
        vocab=vocabulary,
        merges=merges,
        bos_token=START,
        eos_token=END,
        unk_token=END,
        pad_token=END,
        model_max_length=POSITIONS,
    )
    tokenizer.save_pretrained(folder)
    return CLIPTokenizer.from_pretrained(folder)
