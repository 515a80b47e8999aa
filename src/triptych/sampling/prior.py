"""What a method trains on beside the concept, so that the class word stays.

By default prior pictures (arXiv:2208.12242, section 3.3): the base's own pictures of the class, sampled once for a base
and its prompts, and cached on disk as latents. The user's own can take their place. Without pictures of the class, the
base's outputs are kept (as arXiv:1606.09282 does for classes): noised training pictures are described by the class
word, and what the base predicts for them is the target.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import cycle, islice

import torch
from torch import Tensor

from ..base import Base
from ..data.concept import fill
from ..data.examples import Example, Examples, Source
from ..files.atomic import cache_folder
from ..files.streaming import write_safetensors
from ..files.tensorfile import TensorFile
from .generate import sample_latents
from .request import Request


def prior_source(
    base: Base, examples: Examples, class_word: str, *, outputs: bool, pictures: int, batch: int, weight: float
) -> list[Source]:
    """A source of training rows with pictures of the class: the user's own, or else the base's.

    The base's are asked for by the captions with the class word.

    Args:
        outputs: whether the base's outputs are the target. The training pictures then stand for the base's.
        pictures: how many of the base's are sampled.
        batch: rows in a step.
        weight: of their loss (lambda in equation 2); at 0 there is no such source.
    """
    if not weight:
        return []
    if own := examples.prior or (examples.each if outputs else ()):
        latents = [replace(example, weights=None, as_base=True) if outputs else example for example in own]
        prompts = [fill(example.template, class_word) for example in own]
    else:
        prompts = list(islice(cycle(examples.prompts(class_word)), pictures))
        latents = [Example(latent) for latent in prior_latents(base, prompts)]
    return [Source("prior", latents, prompts, batch, weight)]


def prior_latents(base: Base, prompts: list[str]) -> Tensor:
    """Latents [prompts, channels, height, width] that the bare base samples for these prompts, cached on disk."""
    sampling = base.description.sampling
    chunks = base.texts[0].most_chunks  # that are read of a prompt
    name = "/".join(map(str, (base.identity, base.dtype, base.resolution, sampling.decides, chunks, prompts)))
    path = cache_folder() / "prior" / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.safetensors"
    if not path.is_file():
        requests = [Request(prompt, (-1 - i,)) for i, prompt in enumerate(prompts)]  # seeds that no study uses
        batches = [requests[i : i + sampling.batch] for i in range(0, len(requests), sampling.batch)]
        latents = torch.cat([sample_latents(base, batch, sampling) for batch in batches])
        write_safetensors(path, {"latents": latents}, {})
    return TensorFile.open(path).tensors()["latents"].to(base.device)
