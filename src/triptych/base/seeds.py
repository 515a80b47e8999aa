"""Random generators that depend on their purpose alone, not on earlier random numbers."""

import hashlib

import torch


def generator(*purpose: object) -> torch.Generator:
    """A CPU generator seeded by its purpose: `generator("train", seed, step)`, `generator("draw", seed)`.

    The purpose is hashed, since torch's CPU generator keeps 32 bits of a seed, and similar seeds must not give similar
    noise.
    """
    digest = hashlib.sha256("/".join(map(str, purpose)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
