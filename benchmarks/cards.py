"""What the memory plan expects of each method on bases of full size, with the presets for graphics cards.

    python -m benchmarks.cards [--family sdxl] [--card 12GB] [--method lora] [--without]

The bases have the configuration of their family and no weights: torch's meta device knows shapes alone, so a plan takes
seconds on a CPU. What passes allocate is counted from shapes, in bfloat16 with CUDA's automatic casts, and attention as
its flash kernel allocates. Kernels, the driver and the allocator take more, which is not counted. `--without` plans for
the card's memory with none of the preset's settings.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import fields
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from triptych.base import Base, Ddpm, Description, Text, UNet
from triptych.base.opening.single import configuration, schedule, shell
from triptych.base.opening.tokenizer import clip_tokenizer
from triptych.cancel import Cancelled
from triptych.data.examples import Example, Examples
from triptych.errors import TriptychError
from triptych.families import VAE, family_named
from triptych.methods import Training, method_named, methods
from triptych.settings import Value
from triptych.training import loop
from triptych.training.fit import Trial, fit
from triptych.training.memory import Plan
from triptych.units import bytes_of, size

RESOLUTIONS = {"sd1": 512, "sd2": 768, "sdxl": 1024}
META, DTYPE = torch.device("meta"), torch.bfloat16
LOWER = {F.linear, F.conv2d, torch.matmul, torch.bmm, torch.baddbmm, torch.einsum, Tensor.matmul, Tensor.__matmul__}
HIGHER = {F.group_norm, F.layer_norm, torch.softmax, F.softmax, Tensor.softmax, F.mse_loss}


def bare_base(name: str) -> Base:
    """A base with a family's configuration, in bfloat16 and without weights."""
    family = family_named(name)
    parts: dict[str, Any] = {
        part: shell(part, configuration(family.configurations, part)) for part in family.components
    }
    for part in parts.values():
        nn.Module.to(part, DTYPE)
    texts = tuple(
        Text(
            side.component, clip_tokenizer("!" if side.openclip else "<|endoftext|>"), parts[side.component],
            side.embedding, side.penultimate,
        )
        for side in family.texts
    )  # fmt: skip
    process = Ddpm(schedule(family.configurations, "epsilon", zero_snr=False))
    described = Description.of(None, name)
    return Base(
        name, texts, parts[VAE], UNet(parts[family.denoiser]), process, described, RESOLUTIONS[name], identity="bare"
    )


class Autocast(TorchFunctionMode):
    """CUDA's automatic casts of products and norms, which torch does not make on the meta device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if dtype := DTYPE if func in LOWER else torch.float32 if func in HIGHER else None:
            args = tree_map(lambda x: x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x, args)
        if func is Tensor.backward:
            (loss,), engine = args, torch.autograd.Variable._execution_engine
            with self:  # activations are recomputed inside it
                return engine.run_backward((loss,), (torch.ones_like(loss),), False, False, (), True, True)
        return func(*args, **(kwargs or {}))


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
    found: Tensor = torch.ops.aten._scaled_dot_product_flash_attention(*(x.to(DTYPE) for x in (query, key, value)))[0]
    return found


@contextmanager
def from_shapes() -> Iterator[None]:
    """Inside the block a training can be planned on a base without weights."""
    attention, copy, autocast, encoded = F.scaled_dot_product_attention, Tensor.copy_, torch.autocast, loop.encoded
    F.scaled_dot_product_attention = _attention
    Tensor.copy_ = lambda self, other, *rest: self if other.device == META else copy(self, other, *rest)  # type: ignore
    torch.autocast = lambda *_, **__: nullcontext()  # type: ignore
    loop.encoded = torch.no_grad()(lambda base, asked: base.encode_for(asked))  # nothing is kept on disk
    try:
        with Autocast():
            yield
    finally:
        F.scaled_dot_product_attention, torch.autocast, loop.encoded = attention, autocast, encoded  # type: ignore
        Tensor.copy_ = copy  # type: ignore


def planned(base: Base, method: str, given: Mapping[str, Value], memory: int) -> Plan:
    """The plan of a training on eight pictures, and eight of the class.

    Raises:
        TriptychError: the memory does not hold it.
    """
    side, kind, plans, real = base.resolution // base.pixels, method_named(method), list[Plan](), loop.plan
    word = {"start_word": "cat"} if "start_word" in {entry.name for entry in fields(kind.settings_class)} else {}
    settings = kind.configure(base.description.methods.get(method, {}), word, given)
    picture = Example(torch.empty(4, side, side, device=META), "a photo of a {}", Image.new("RGB", (8, 8)))

    def noted(*given: Any) -> Plan:
        plans.append(real(*given))
        raise Cancelled

    loop.plan = noted
    try:
        fit(base, [Trial(method, settings, Examples((picture,) * 8, (picture,) * 8), "cat")], memory=memory)
    except Cancelled:
        return plans[0]
    finally:
        loop.plan = real
    raise ValueError(f"{method} is not trained")


def row(base: Base, method: str, given: Mapping[str, Value], memory: int) -> Sequence[str]:
    """Rows a pass, how, bytes at rest and the expected peak; or the whole of the refusal."""
    try:
        plan = planned(base, method, given, memory)
    except TriptychError as error:
        return ("-", "-", "-", str(error).partition(";")[0])
    return (
        f"{plan.most_rows} of {plan.rows}",
        str(plan.arrangement).removeprefix(", "),
        size(plan.resting),
        size(plan.peak),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", action="append", choices=[*RESOLUTIONS])
    parser.add_argument("--card", action="append")
    parser.add_argument("--method", action="append", choices=[*methods()])
    parser.add_argument("--without", action="store_true", help="none of the preset's settings")
    arguments = parser.parse_args()
    trained = [name for name, method in methods().items() if issubclass(method.settings_class, Training)]
    print("| base | card | method | settings | rows a pass | how | at rest | expected peak |")
    print("|---|---|---|---|---|---|---|---|")
    with from_shapes():
        for family in arguments.family or RESOLUTIONS:
            base = bare_base(family)
            for card, own in base.description.presets.items():
                for method in arguments.method or trained:
                    if arguments.card and card not in arguments.card:
                        continue
                    given = {} if arguments.without else own.get(method, {})
                    said = ", ".join(f"{name}={str(value).lower()}" for name, value in given.items())
                    cells = row(base, method, given, bytes_of(card))
                    print("|", " | ".join((family, card, method, said, *cells)), "|", flush=True)


if __name__ == "__main__":
    main()
