"""Randomness that depends on what it is for and on nothing drawn before."""

import hashlib

import torch


def generator(*purpose: object) -> torch.Generator:
    """A CPU generator seeded by its purpose: `generator("train", seed, step)`, `generator("draw", seed)`.

    The parts are hashed, because torch's CPU generator keeps 32 bits of a seed and near seeds must not give near noise.
    """
    return torch.Generator().manual_seed(_hashed(*purpose))


def seed_of(*purpose: object) -> int:
    """A seed of 0 to 2^31 - 1 by its purpose."""
    return _hashed(*purpose) & 0x7FFFFFFF


def _hashed(*purpose: object) -> int:
    """32 bits."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, purpose)).encode()).digest()[:4], "big")
