"""CLIP's tokenizer, from the package's own vocabulary: byte pair encoding with 49,408 tokens (arXiv:2103.00020)."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from ...families import FOLDER

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

VOCABULARY = FOLDER / "clip_vocabulary" / "bpe_simple_vocab_16e6.txt.gz"
MERGES = 49152 - 256 - 2  # the lines of the file that are used, after its first line
POSITIONS = 77


def clip_tokenizer(pad: str) -> CLIPTokenizer:
    """The tokenizer of Stable Diffusion's text encoders. They differ in the padding token.

    Args:
        pad: "<|endoftext|>" (id 49407) for Stable Diffusion 1 and SDXL's first encoder, "!" (id 0) for OpenCLIP's.
            A "!" in a prompt keeps its own id (256), as in OpenCLIP. In the folders of Stable Diffusion 2, transformers
            reads it as padding.
    """
    from transformers import CLIPTokenizer

    lines = gzip.decompress(VOCABULARY.read_bytes()).decode("utf-8").split("\n")[1 : MERGES + 1]
    merges = [tuple(line.split()) for line in lines]
    letters = _letters()
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges)]
    vocabulary = {piece: i for i, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=POSITIONS)
    tokenizer.pad_token = pad  # set here: as an argument above, it would be cut out of prompts
    return tokenizer


def _letters() -> list[str]:
    """The 256 bytes as visible letters: printable Latin-1 letters stay, all others are mapped from U+0100 on."""
    printable = [byte for byte in range(256) if 0x21 <= byte <= 0x7E or (0xA1 <= byte <= 0xFF and byte != 0xAD)]
    return [*map(chr, printable), *(chr(0x100 + i) for i in range(256 - len(printable)))]
