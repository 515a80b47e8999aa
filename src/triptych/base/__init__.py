"""Frozen Stable Diffusion models: what they are, how they are opened, whose rows a call has."""

from .description import Budget, Description, Drawing
from .loading import EMBEDDED, Place
from .model import Base
from .rows import Owner, Rows, Spans, spans
from .seeds import generator
from .tiny import tiny_base

__all__ = [
    "EMBEDDED", "Base", "Budget", "Description", "Drawing", "Owner", "Place", "Rows", "Spans", "generator", "spans",
    "tiny_base",
]  # fmt: skip
