"""Self-attention that reads the positions of other rows, too: extended attention (arXiv:2402.03286, section 3.1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .hooks import hooked


class Extending(Protocol):
    """Says which rows of a call read which others in self-attention."""

    def reads(self, queries: int) -> Mapping[int, tuple[Sequence[int], Tensor]]:
        """Row -> the other rows that it reads, and what is added to the scores of their positions [rows x queries].

        Args:
            queries: the number of positions of a row in this layer.
        """


@contextmanager
def extended(module: nn.Module, seen: Extending) -> Iterator[None]:
    """Extend the self-attention of diffusers' layers `attn1` inside the `with` block. At a score of -inf a position is
    not read, at 0 it counts as the row's own."""

    def after(layer: Any, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        hidden: Tensor = inputs[0]
        count = hidden.shape[1]
        reads = seen.reads(count)
        if not reads:
            return output
        parts = (layer.to_q(hidden), layer.to_k(hidden), layer.to_v(hidden))
        query, key, value = (part.unflatten(-1, (layer.heads, -1)).transpose(1, 2) for part in parts)
        joined = torch.zeros_like(query)
        for row, (others, scores) in reads.items():
            keys, values = (torch.cat([part[row], *part[list(others)]], dim=1) for part in (key, value))
            added = F.pad(scores, (count, 0)).to(query)
            joined[row] = F.scaled_dot_product_attention(query[row], keys, values, attn_mask=added.expand(count, -1))
        new = layer.to_out[0](joined.transpose(1, 2).flatten(2)) / layer.rescale_output_factor
        output, rows = output.clone(), list(reads)
        output[rows] = new[rows].to(output.dtype)
        return output

    layers = [layer for path, layer in module.named_modules() if path.endswith("attn1")]
    with hooked(layer.register_forward_hook(after) for layer in layers):
        yield
