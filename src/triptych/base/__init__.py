"""Frozen diffusion models: their components, how they are opened, and which owner each row of a call belongs to."""

from .changes import Change, Changes
from .conditioning import Conditioning
from .denoiser import Denoiser, UNet
from .description import Budget, Description, Population, Sampling
from .model import Base, Framing
from .opening.loading import EMBEDDED, Place, open_base
from .process import Ddpm, Flow, Process
from .rows import Owner, Rows, Spans, spans
from .seeds import generator, seed_of
from .text import Text
from .tiny import tiny_base

__all__ = [
    "EMBEDDED", "Base", "Budget", "Change", "Changes", "Conditioning", "Ddpm", "Denoiser", "Description", "Flow",
    "Framing", "Owner", "Place", "Population", "Process", "Rows", "Sampling", "Spans", "Text", "UNet", "generator",
    "open_base", "seed_of", "spans", "tiny_base",
]  # fmt: skip
