"""A hypernetwork changes the inputs of keys and values in attention by small nets, one pair for each context width.

This is the hypernetwork of A1111's web UI: `x + net(x) * strength` before `to_k` and `to_v`, in self- and
cross-attention, wherever the context has one of the nets' widths. All layers of a width share its nets. (It is not the
hypernetwork of arXiv:2307.06949, which predicts LoRA weights.)

A net is a sequence of members, as in A1111: for each step of the structure a Linear; then the activation, unless it is
"linear" (after the last Linear only with `activate_output`); then, with `layer_norm`, a LayerNorm. Its tensors are
called `WIDTH.k.linear.N.weight` and `.bias`, and the same with `v`. N counts the members, including activations,
from 0.

triptych's own file is safetensors with these names. A Linear's weight is [W n, W m] and its bias [W n], where m and n
are the structure's multiples before and after it, and products are rounded down. A LayerNorm's weight and bias are
[W n], a PReLU's weight is [1]. The settings in the recipe state the rest: `layers` ("1,2,1"), `activation`,
`layer_norm`, `activate_output`. Dropout acts only in training. It is no member here, so files of A1111 that have it are
renumbered.

Dimensions: W width of the context, P positions, O owners of a batched product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..base import Base, Change, Owner, generator
from ..errors import TriptychError
from ..families import by_context_width
from ..patching.dropout import dropped
from ..patching.patch import Learned, Tensors, check_fit
from ..settings import setting
from . import Depth, Method, Training

ACTIVATIONS: dict[str, Callable[..., Tensor]] = {
    "linear": lambda x: x, "relu": F.relu, "leakyrelu": F.leaky_relu, "elu": F.elu, "swish": F.hardswish,
    "tanh": torch.tanh, "sigmoid": torch.sigmoid, "softsign": F.softsign, "mish": F.mish, "celu": F.celu,
    "gelu": F.gelu, "hardshrink": F.hardshrink, "hardsigmoid": F.hardsigmoid, "hardswish": F.hardswish,
    "hardtanh": F.hardtanh, "logsigmoid": F.logsigmoid, "prelu": F.prelu, "relu6": F.relu6, "rrelu": F.rrelu,
    "selu": F.selu, "silu": F.silu, "softplus": F.softplus, "softshrink": F.softshrink, "tanhshrink": F.tanhshrink,
}  # fmt: skip
"""A1111's names: torch's classes in lower case, with default arguments. A1111's "swish" is the hard one.

Activations that mix rows or positions (such as softmax), change the width (glu) or need arguments are left out.
"""
INITIALISATIONS: dict[str, Callable[..., Tensor] | None] = {  # A1111's, of Linears; a LayerNorm is always normal
    "normal": None, "xavier-normal": nn.init.xavier_normal_, "xavier-uniform": nn.init.xavier_uniform_,
    "kaiming-normal": nn.init.kaiming_normal_, "kaiming-uniform": nn.init.kaiming_uniform_,
}  # fmt: skip
SPREADS = ("linear", "norm")  # members with random initial weights; A1111 initialises a LayerNorm like that too


@dataclass(frozen=True)
class Settings(Training):
    lr: float = setting(1e-5, "learning rate of the optimiser", least=0)
    widths: str = setting("all", "context widths with nets of their own, such as '768,320'; 'cross': the text's; 'all'")
    layers: str = setting("1,2,1", "widths of a net's layers as multiples of the context's")
    activation: str = setting("linear", "between the layers", choices=tuple(ACTIVATIONS))
    layer_norm: bool = setting(False, "a LayerNorm after each layer")
    activate_output: bool = setting(False, "the activation after the last layer too")
    initialisation: str = setting("normal", "of the first weights, as in A1111", choices=tuple(INITIALISATIONS))
    spread: float = setting(0.01, "standard deviation of the first weights, where they are normal", least=0)
    dropout: float = setting(
        0.0, "share of the values between the layers that a training step hides", least=0, most=0.99
    )
    rescue: float = setting(
        2.0,
        "times its lowest value at which the fixed-batch loss shows a collapse: training goes back; 0: never",
        least=0,
    )

    @property
    def structure(self) -> list[float]:
        try:
            multiples = [float(part) for part in self.layers.split(",")]
        except ValueError:
            multiples = []
        ends = len(multiples) > 1 and multiples[0] == multiples[-1] == 1
        if not ends or not all(0 < multiple <= 1000 for multiple in multiples):
            raise TriptychError(f"hypernetwork: layers must begin and end with 1, as in '1,2,1', not {self.layers!r}")
        return multiples


@dataclass(frozen=True)
class Member:
    """One member of a net.

    Attributes:
        kind: "linear", "norm" (LayerNorm), "dropout", or the name of an activation.
        place: its number among all members, including dropouts.
        shapes: of its tensors.
    """

    kind: str
    place: int
    shapes: dict[str, torch.Size]


def members(width: int, settings: Settings, dropout: Sequence[float] = ()) -> list[Member]:
    """The members of the nets of one width, in order.

    `dropout` is A1111's: the dropout rate after each width of the structure. A dropout above 0 is a member.
    """
    structure, found = settings.structure, list[tuple[str, dict[str, torch.Size]]]()
    for i, (before, after) in enumerate(pairwise(structure), start=1):
        inputs, outputs, last = int(width * before), torch.Size([int(width * after)]), i == len(structure) - 1
        found.append(("linear", {"weight": torch.Size([*outputs, inputs]), "bias": outputs}))
        if settings.activation != "linear" and (settings.activate_output or not last):
            learned = {"weight": torch.Size([1])} if settings.activation == "prelu" else {}
            found.append((settings.activation, learned))
        if settings.layer_norm:
            found.append(("norm", {"weight": outputs, "bias": outputs}))
        if i < len(dropout) and dropout[i] > 0:
            found.append(("dropout", {}))
    return [Member(kind, place, shapes) for place, (kind, shapes) in enumerate(found)]


def tensor_names(net: str, member: Member) -> list[str]:
    """The names of the member's tensors in a net such as `768.k`, in the order of its function's arguments."""
    return [f"{net}.linear.{member.place}.{part}" for part in member.shapes]


class Hypernetwork(Method[Settings]):
    name: ClassVar[str] = "hypernetwork"
    title = "Hypernetwork"
    settings_class = Settings
    opens_at = Depth.INPUTS
    exports_as = ("triptych", "a1111-hypernetwork")

    def refusal(self, base: Base) -> str:
        if base.denoiser.context_width:
            return ""
        return (
            "it bends what cross-attention reads of the text, and the denoiser of "
            f"{base.family.title} has none: text and picture go through the same layers; take lora"
        )

    def start(self, base: Base, settings: Settings, seed: int) -> Tensors:
        random = generator("start", seed)
        dtype = torch.get_default_dtype()
        tensors = {}
        for name, kind, shape in _tensors(_chosen(base, settings), settings):
            if name.endswith("bias"):
                tensors[name] = torch.zeros(shape)
            elif kind == "linear" and settings.initialisation != "normal":
                tensors[name] = _initialised(shape, settings, random)
            elif kind in SPREADS:
                tensors[name] = settings.spread * torch.randn(shape, generator=random, dtype=dtype)
            else:
                tensors[name] = torch.full(shape, 0.25)  # PReLU's initial slope below 0, as in torch
        return tensors

    @contextmanager
    def patch(
        self, base: Base, settings: Settings, tensors: Tensors, strength: float = 1.0, owner: Owner = None
    ) -> Iterator[Learned]:
        """As `Method.patch`. Nets of widths that the base does not have are ignored, so that one file of A1111 with
        nets for all widths fits every base. If the base's text width is missing, the file is refused.
        """
        used = _used(base, tensors)
        mine = {name: tensor for name, tensor in tensors.items() if _width(name) in (*used, None)}
        check_fit(self.name, mine, {name: shape for name, _, shape in _tensors(used, settings)})
        patch = Learned(mine, strength, base.device)
        with ExitStack() as undo:
            layers = _layers(base, used)
            for net in dict.fromkeys(name for name, _ in layers):
                receiving = [layer for name, layer in layers if name == net]
                change = _change(base, patch, net, settings, owner, len(receiving))
                for layer in receiving:
                    undo.enter_context(base.changes.on(layer, "receives", change))
            yield patch


def _initialised(shape: torch.Size, settings: Settings, random: torch.Generator) -> Tensor:
    """The first weight of a Linear by Xavier (Glorot and Bengio, 2010) or Kaiming (arXiv:1502.01852)."""
    fill, options = INITIALISATIONS[settings.initialisation], {}
    assert fill is not None
    if settings.initialisation.startswith("kaiming"):
        options = {"nonlinearity": "leaky_relu" if settings.activation == "leakyrelu" else "relu"}
    return fill(torch.empty(shape), generator=random, **options)


def _change(base: Base, patch: Learned, net: str, settings: Settings, owner: Owner, layers: int) -> Change:
    """The change by which a net acts on the inputs of its layers.

    All cross-attention layers receive the same text, so the output of a net of that width is computed once.
    """
    width = int(net.split(".")[0])
    sequence = members(width, settings)
    learned = tuple(patch.learned[name] for member in sequence for name in tensor_names(net, member))
    reused = width == _text_width(base)
    add: Callable[..., Tensor] = partial(
        _forward, base, [(member.kind, len(member.shapes)) for member in sequence], 1 if reused else layers
    )
    if settings.dropout:
        add = partial(_forward_dropping, patch, net, sequence, settings.dropout, add)
        return Change(owner, add, learned, lambda: patch.strength, None, reused)
    kind = ("hypernetwork", settings.activation, *((member.kind, member.place) for member in sequence))
    return Change(owner, add, learned, lambda: patch.strength, kind, reused)


def _forward(base: Base, sequence: Sequence[tuple[str, int]], layers: int, x: Tensor, *learned: Tensor) -> Tensor:
    """The output of a net for `x` [..., W]; for several owners x is [O, P, W] and tensors are [O, ...].

    A net of Linears alone is one Linear. If there are many positions, the product of their weights is computed first.
    """
    if all(kind == "linear" for kind, _ in sequence) and _product_pays(x, learned[::2], layers):
        learned = base.rows.once("one linear", learned, lambda: _one_linear(learned))
        sequence = [("linear", 2)]
    y, left = x, iter(learned)
    for kind, count in sequence:
        y = _member(kind, y, [tensor.to(y.dtype) for tensor in islice(left, count)])
    return y


def _forward_dropping(
    patch: Learned, net: str, sequence: Sequence[Member], share: float, plain: Callable[..., Tensor], x: Tensor,
    *learned: Tensor,
) -> Tensor:  # fmt: skip
    """As `_forward`, with dropout before each Linear but the first, in steps of training."""
    if patch.draw is None:
        return plain(x, *learned)
    y, left = x, iter(learned)
    for member in sequence:
        if member.kind == "linear" and member.place:
            y = dropped(patch, f"{net}.{member.place}", share, y)
        y = _member(member.kind, y, [tensor.to(y.dtype) for tensor in islice(left, len(member.shapes))])
    return y


def _member(kind: str, y: Tensor, learned: Sequence[Tensor]) -> Tensor:
    """The output of one member. For several owners its tensors have one more dimension in front [O, ...]."""
    if kind == "linear":
        weight, bias = learned
        return F.linear(y, weight, bias) if weight.dim() == 2 else torch.baddbmm(bias.unsqueeze(1), y, weight.mT)
    if kind == "norm":
        weight, bias = learned
        if weight.dim() == 1:
            return F.layer_norm(y, y.shape[-1:], weight, bias)
        return F.layer_norm(y, y.shape[-1:]) * weight.unsqueeze(1) + bias.unsqueeze(1)
    if kind == "prelu" and learned[0].dim() == 2:
        return torch.where(y > 0, y, y * learned[0].unsqueeze(1))
    return ACTIVATIONS[kind](y, *learned)


def _product_pays(x: Tensor, weights: Sequence[Tensor], layers: int) -> bool:
    """Whether one Linear of weight [W, W] takes fewer multiplications than the `weights` [..., out, in] in turn.

    `x` [..., W] is the input from one of the `layers` that share the net.
    """
    width = x.shape[-1]
    owners = len(x) if weights[0].dim() == 3 else 1
    positions = layers * x.numel() // width // owners
    in_turn = sum(weight.shape[-1] * weight.shape[-2] for weight in weights)
    product = sum(weight.shape[-1] * weight.shape[-2] for weight in weights[1:]) * width
    return positions * (in_turn - width * width) > product


def _one_linear(learned: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The weight and bias of several Linears in sequence, given as weight, bias, weight, bias, ..."""
    weight, bias = learned[0], learned[1]
    for after, offset in zip(learned[2::2], learned[3::2], strict=True):
        weight, bias = after @ weight, (after @ bias.unsqueeze(-1)).squeeze(-1) + offset
    return weight, bias


def _layers(base: Base, widths: set[int]) -> list[tuple[str, nn.Linear]]:
    """All key and value layers whose input has one of the widths, with the name of their net: the width, and k or v."""
    return [
        (f"{layer.in_features}.{path[-1]}", layer)
        for path, layer in base.denoiser.chosen(("to_k", "to_v"))
        if layer.in_features in widths
    ]


def _known(base: Base) -> set[int]:
    """The context widths of the base's attention layers."""
    return {layer.in_features for _, layer in base.denoiser.chosen(("to_k", "to_v"))}


def _text_width(base: Base) -> int:
    return base.denoiser.context_width


def _width(name: str) -> int | None:
    head = name.split(".")[0].strip()
    return int(head) if head.isdecimal() else None


def _chosen(base: Base, settings: Settings) -> set[int]:
    """The widths that the settings choose.

    Raises:
        TriptychError: the base has no layer of such a width.
    """
    known = _known(base)
    if settings.widths == "all":
        return known
    if settings.widths == "cross":
        return {_text_width(base)}
    chosen = {_width(part) for part in settings.widths.split(",")}
    if not chosen <= known:
        raise TriptychError(
            f"hypernetwork: widths can be 'all', 'cross' or some of {sorted(known)}, not {settings.widths!r}"
        )
    return {width for width in known if width in chosen}


def _used(base: Base, tensors: Tensors) -> set[int]:
    """The widths of the tensors that the base has.

    Raises:
        TriptychError: the tensors were made for a base with another text width.
    """
    widths, known, text = {_width(name) for name in tensors} - {None}, _known(base), _text_width(base)
    strange = {width for width in widths if width is not None} - known
    if text in widths or not strange:
        return {width for width in known if width in widths} or known
    theirs = max({width for width in strange if by_context_width(width)} or strange)
    raise TriptychError(
        f"this hypernetwork was made for a base with text width {theirs}, this one has {text}: choose another base"
    )


def _tensors(widths: set[int], settings: Settings) -> Iterator[tuple[str, str, torch.Size]]:
    """All tensors of the nets of these widths: name, kind of the member, shape."""
    for net in sorted(f"{width}.{letter}" for width in widths for letter in "kv"):
        for member in members(int(net.split(".")[0]), settings):
            for name, shape in zip(tensor_names(net, member), member.shapes.values(), strict=True):
                yield name, member.kind, shape
