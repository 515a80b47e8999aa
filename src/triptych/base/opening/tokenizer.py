"""CLIP's tokenizer, from the vocabulary that comes with the package: byte pairs, 49,408 pieces (arXiv:2103.00020)."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from ...families import FOLDER

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

VOCABULARY = FOLDER / "clip_vocabulary" / "bpe_simple_vocab_16e6.txt.gz"
MERGES = 49152 - 256 - 2  # of the file's many lines, in their order, after the first
POSITIONS = 77


def clip_tokenizer(pad: str) -> CLIPTokenizer:
    """The tokenizer of Stable Diffusion's text encoders; they differ in what fills up a short prompt.

    Args:
        pad: "<|endoftext|>" (id 49407) for Stable Diffusion 1 and SDXL's first encoder, "!" (id 0) for OpenCLIP's.
            A "!" in a prompt stays what it is to OpenCLIP (id 256); transformers reads it as padding in the folders of
            Stable Diffusion 2.
    """
    from transformers import CLIPTokenizer

    lines = gzip.decompress(VOCABULARY.read_bytes()).decode("utf-8").split("\n")[1 : MERGES + 1]
    merges = [tuple(line.split()) for line in lines]
    letters = _letters()
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges)]
    vocabulary = {piece: i for i, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=POSITIONS)
    tokenizer.pad_token = pad  # not given above, where it would be cut out of prompts before they are split into words
    return tokenizer


def _letters() -> list[str]:
    """The 256 bytes as visible letters: those that are printable in Latin-1 as themselves, the rest from U+0100 on."""
    printable = [byte for byte in range(256) if 0x21 <= byte <= 0x7E or (0xA1 <= byte <= 0xFF and byte != 0xAD)]
    return [*map(chr, printable), *(chr(0x100 + i) for i in range(256 - len(printable)))]
