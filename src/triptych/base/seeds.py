"""Randomness that depends on what it is for and on nothing drawn before."""

import hashlib

import torch


def generator(*purpose: object) -> torch.Generator:
    """A CPU generator seeded by its purpose: `generator("train", seed, step)`, `generator("draw", seed)`.

    The parts are hashed, because torch's CPU generator keeps 32 bits of a seed and near seeds must not give near noise.
    """
    digest = hashlib.sha256("/".join(map(str, purpose)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
