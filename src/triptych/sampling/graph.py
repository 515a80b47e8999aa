"""Reads the graph of nodes that ComfyUI writes into its pictures, as far as one sampler goes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import TriptychError

Nodes = Mapping[str, Mapping[str, Any]]
TEXTS = ("text", "text_g", "text_l")
NEEDED = {"positive", "steps"}  # inputs of a sampler


@dataclass(frozen=True)
class Graph:
    """What a graph says. `inputs`: those of the sampler and of the empty latents. `loras`: name, and strengths on the
    denoiser and on the text encoders. `notes`: what is not read."""

    prompt: str
    negative: str
    inputs: Mapping[str, Any]
    checkpoint: str = ""
    loras: tuple[tuple[str, float, float], ...] = ()
    clip_skip: int = 1
    notes: tuple[str, ...] = field(default=())


def read_graph(text: str) -> Graph:
    """
    Raises:
        TriptychError: it is no such graph, or has no sampler with a prompt.
    """
    try:
        nodes: Nodes = {str(name): dict(node) for name, node in json.loads(text).items()}
        samplers = [name for name, node in nodes.items() if dict(node.get("inputs", {})).keys() >= NEEDED]
    except (ValueError, TypeError, AttributeError) as error:
        raise TriptychError("the graph in the picture is none of ComfyUI's") from error
    if not samplers:
        raise TriptychError("the graph in the picture has no sampler with a prompt that triptych knows")
    inputs = dict(nodes[samplers[0]]["inputs"])
    notes = [f"{len(samplers)} samplers are in its graph, and the first is read"] if len(samplers) > 1 else []
    upstream = [node for name in ("model", "positive") for node in _above(nodes, inputs.get(name))]
    loras = {
        str(own["lora_name"]): (_number(own.get("strength_model", 1)), _number(own.get("strength_clip", 1)))
        for node in upstream
        if isinstance(own := node.get("inputs", {}), dict) and "lora_name" in own
    }
    checkpoint = next((str(n["inputs"]["ckpt_name"]) for n in upstream if "ckpt_name" in n.get("inputs", {})), "")
    skips = [n["inputs"]["stop_at_clip_layer"] for n in upstream if "stop_at_clip_layer" in n.get("inputs", {})]
    for node in _above(nodes, inputs.get("latent_image")):
        inputs |= {side: node["inputs"][side] for side in ("width", "height") if side in node.get("inputs", {})}
    kinds = {str(node.get("class_type")) for node in upstream}
    notes += [f"its node {kind} is not read" for kind in sorted(kinds) if kind.startswith("Conditioning")]
    return Graph(
        _text(nodes, inputs.get("positive")), _text(nodes, inputs.get("negative")), inputs, checkpoint,
        tuple((name, *strengths) for name, strengths in loras.items()), abs(int(skips[0])) if skips else 1,
        tuple(notes),
    )  # fmt: skip


def _above(nodes: Nodes, link: Any) -> Iterator[Mapping[str, Any]]:
    """The nodes that a link leads to, the nearest first, each once."""
    waiting, seen = [link], set[str]()
    while waiting:
        link = waiting.pop(0)
        if not isinstance(link, list) or len(link) != 2 or str(link[0]) in seen or str(link[0]) not in nodes:
            continue
        seen.add(str(link[0]))
        node = nodes[str(link[0])]
        yield node
        waiting += list(dict(node.get("inputs", {})).values())


def _text(nodes: Nodes, link: Any) -> str:
    """The nearest text above a link."""
    for node in _above(nodes, link):
        for name in TEXTS:
            if isinstance(found := node.get("inputs", {}).get(name), str):
                return found
    return ""


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 1.0
