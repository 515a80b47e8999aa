"""Frozen Stable Diffusion models: what they are, how they are opened, whose rows a call has."""

from .changes import Change, Changes
from .conditioning import Conditioning
from .denoiser import Denoiser, UNet
from .description import Budget, Description, Drawing, Population
from .model import Base
from .opening.loading import EMBEDDED, Place, open_base
from .process import Ddpm, Flow, Process
from .rows import Owner, Rows, Spans, spans
from .seeds import generator, seed_of
from .text import Text
from .tiny import tiny_base

__all__ = [
    "EMBEDDED", "Base", "Budget", "Change", "Changes", "Conditioning", "Ddpm", "Denoiser", "Description", "Drawing",
    "Flow", "Owner", "Place", "Population", "Process", "Rows", "Spans", "Text", "UNet", "generator", "open_base",
    "seed_of", "spans", "tiny_base",
]  # fmt: skip
