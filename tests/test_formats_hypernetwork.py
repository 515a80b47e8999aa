"""Hypernetworks of A1111: read and written, held against readers written from what the two programs are known to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies
from torch import Tensor, nn

from tests.worlds import gap, look
from triptych.base import Base, tiny_base
from triptych.errors import TriptychError
from triptych.exchange.artifact import Artifact
from triptych.exchange.formats import formats, open_artifact, recognise
from triptych.exchange.saving import save
from triptych.files.tensorfile import TensorFile
from triptych.methods import method_named
from triptych.methods.hypernetwork import ACTIVATIONS, members

FORMAT = "a1111-hypernetwork"
CLASSES = {name.lower(): getattr(nn.modules.activation, name) for name in nn.modules.activation.__all__}
CLASSES |= {"linear": nn.Identity, "swish": nn.Hardswish}
COMFY = {
    "linear": nn.Identity, "relu": nn.ReLU, "leakyrelu": nn.LeakyReLU, "elu": nn.ELU, "swish": nn.Hardswish,
    "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "softsign": nn.Softsign, "mish": nn.Mish,
}  # fmt: skip
KEYS = {
    "step", "name", "layer_structure", "activation_func", "is_layer_norm", "weight_initialization", "sd_checkpoint",
    "sd_checkpoint_name", "activate_output", "use_dropout", "dropout_structure", "last_layer_dropout", "optional_info",
}  # fmt: skip


class Net(nn.Module):
    """The web UI's module, from its specification."""

    def __init__(self, dim: int, told: dict[str, Any]) -> None:
        super().__init__()
        structure, activation = told.get("layer_structure", [1, 2, 1]), told.get("activation_func")
        dropout = told.get("dropout_structure")
        if dropout is None:
            last = 0.3 if told.get("last_layer_dropout") else 0
            dropout = [0, *[0.3] * (len(structure) - 3), last, 0] if told.get("use_dropout") else [0] * len(structure)
        rows: list[nn.Module] = []
        for i, (reads, gives) in enumerate(pairwise(structure)):
            rows.append(nn.Linear(int(dim * reads), int(dim * gives)))
            last_one = i == len(structure) - 2
            if activation not in (None, "linear") and (not last_one or told.get("activate_output", True)):
                rows.append(CLASSES[activation]())
            if told.get("is_layer_norm"):
                rows.append(nn.LayerNorm(int(dim * gives)))
            if dropout[i + 1] > 0:
                rows.append(nn.Dropout(dropout[i + 1]))
        self.linear = nn.Sequential(*rows)

    def load(self, state: dict[str, Tensor]) -> None:
        old = {"linear1": "linear.0", "linear2": "linear.1"}
        renamed = {}
        for name, tensor in state.items():
            place, _, part = name.rpartition(".")
            renamed[f"{old.get(place, place)}.{part}"] = tensor
        self.load_state_dict(renamed)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)  # type: ignore[no-any-return]


def a1111(path: Path) -> dict[int, tuple[nn.Module, nn.Module]]:
    told = torch.load(path, weights_only=True)
    found = {}
    for width in [key for key in told if isinstance(key, int)]:
        pair = Net(width, told), Net(width, told)
        for net, state in zip(pair, told[width], strict=True):
            net.load(state)
        found[width] = pair
    return found


def comfy(path: Path) -> dict[int, tuple[nn.Module, nn.Module]] | None:
    """ComfyUI's reader, from notes on it: nets are built from the tensors in their order, and never set to eval."""
    told = torch.load(path, weights_only=True)
    if told.get("activation_func", "linear") not in COMFY:
        return None

    def net(state: dict[str, Tensor]) -> nn.Module:
        rows: list[nn.Module] = []
        names = [name.removesuffix(".weight") for name in state if name.endswith(".weight")]
        normed = told.get("is_layer_norm", False)
        for i in range(0, len(names), 2 if normed else 1):
            weight, bias = state[f"{names[i]}.weight"], state[f"{names[i]}.bias"]
            rows.append(nn.Linear(weight.shape[1], weight.shape[0]))
            rows[-1].load_state_dict({"weight": weight, "bias": bias})
            if i != len(names) - 1 or told.get("activate_output", False):
                rows.append(COMFY[told["activation_func"]]())
            if normed:
                weight, bias = state[f"{names[i + 1]}.weight"], state[f"{names[i + 1]}.bias"]
                rows.append(nn.LayerNorm(weight.shape[0]))
                rows[-1].load_state_dict({"weight": weight, "bias": bias})
            if told.get("use_dropout", False):
                rows.append(nn.Dropout(0.3))
        return nn.Sequential(*rows)

    return {key: (net(told[key][0]), net(told[key][1])) for key in told if isinstance(key, int)}


@contextmanager
def applied(base: Base, nets: dict[int, tuple[nn.Module, nn.Module]], strength: float = 1.0) -> Iterator[None]:
    """Both programs: x + strength net(x), before to_k and to_v of every attention."""

    def hook(net: nn.Module) -> Any:
        return lambda _, inputs: (inputs[0] + strength * net(inputs[0]),)

    with ExitStack() as undo:
        for path, layer in base.denoiser.module.named_modules():
            if path.endswith(("to_k", "to_v")) and layer.in_features in nets:
                net = nets[layer.in_features][path.endswith("to_v")]
                undo.callback(layer.register_forward_pre_hook(hook(net)).remove)
        yield


def random_tensors(widths: tuple[int, ...], chosen: Any, seed: int = 0) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {
        f"{width}.{letter}.linear.{one.place}.{part}": 0.3 * torch.randn(shape, generator=random)
        for width, letter in product(widths, "kv")
        for one in members(width, chosen)
        for part, shape in one.shapes.items()
    }


def artifact(widths: tuple[int, ...] = (8, 12, 16), seed: int = 0, **given: Any) -> Artifact:
    given.setdefault("widths", ",".join(map(str, widths)))
    chosen = method_named("hypernetwork").configure(given)
    return Artifact("hypernetwork", chosen, random_tensors(widths, chosen, seed))


def theirs(path: Path, widths: tuple[int, ...] = (8, 12, 16), old: bool = False, **told: Any) -> Path:
    """A file as the web UI writes it, with what is told of it."""
    torch.manual_seed(1)
    held: dict[Any, Any] = {}
    for width in widths:
        states = [Net(width, told).state_dict(), Net(width, told).state_dict()]
        names = {"linear.0": "linear1", "linear.1": "linear2"} if old else {}
        held[width] = tuple(
            {f"{names.get(n.rpartition('.')[0], n.rpartition('.')[0])}.{n.split('.')[-1]}": t for n, t in state.items()}
            for state in states
        )
    torch.save(held | told | {"step": 700, "name": "net", "sd_checkpoint_name": "v1-5"}, path)
    return path


def same(base: Base, ours: Artifact, nets: dict[int, tuple[nn.Module, nn.Module]]) -> None:
    plain = look(base)
    for strength in (1.0, 0.5):
        with ours.apply(base, strength):
            one = look(base)
        with applied(base, nets, strength):
            other = look(base)
        assert torch.allclose(one, other, atol=2e-5), (one - other).abs().max()
        assert not torch.allclose(one, plain, atol=1e-3)


SHAPES = ("1,2,1", "1,1", "1,2,4,2,1", "1,1.5,1")


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_every_activation_is_the_class_of_its_name(activation: str) -> None:
    x = torch.linspace(-4, 4, 401)
    learned = [torch.tensor([0.25])] if activation == "prelu" else []
    assert torch.equal(ACTIVATIONS[activation](x, *learned), CLASSES[activation]().eval()(x))


def test_every_activation_that_keeps_rows_and_widths_apart_is_known() -> None:
    usable = set(CLASSES) - {"threshold", "glu", "multiheadattention", "softmin", "softmax", "softmax2d", "logsoftmax"}
    assert usable == set(ACTIVATIONS)


@pytest.mark.slow
@pytest.mark.parametrize("layers", SHAPES)
@pytest.mark.parametrize("activation", ["swish", "prelu"])
@pytest.mark.parametrize(("normed", "output"), list(product([False, True], repeat=2)))
def test_written_files_draw_the_same_in_both_programs(
    tmp_path: Path, layers: str, activation: str, normed: bool, output: bool
) -> None:
    base = tiny_base()
    ours = artifact(layers=layers, activation=activation, layer_norm=normed, activate_output=output)
    said = formats()[FORMAT].write(ours, tmp_path / "net.pt")
    assert torch.load(tmp_path / "net.pt", weights_only=True).keys() == KEYS | {8, 12, 16}
    same(base, ours, a1111(tmp_path / "net.pt"))
    read = comfy(tmp_path / "net.pt")
    if "cannot" in said:
        assert read is None
    elif said:
        assert read is not None
        with pytest.raises(AssertionError):
            same(base, ours, read)
    else:
        assert read is not None
        same(base, ours, read)
    back = open_artifact(tmp_path / "net.pt")
    assert gap(back.tensors, ours.tensors) == 0
    for name in ("activation", "layer_norm", "activate_output", "structure"):
        assert getattr(back.settings, name) == getattr(ours.settings, name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "told"),
    [
        (True, {}),
        (False, {}),
        (False, {"activation_func": "relu"}),
        (False, {"activation_func": "relu", "is_layer_norm": True}),
        (False, {"layer_structure": [1, 2, 2, 1], "activation_func": "swish", "use_dropout": True}),
        (False, {"layer_structure": [1, 2, 2, 1], "use_dropout": True, "last_layer_dropout": True}),
        (False, {"layer_structure": [1, 2, 1], "use_dropout": True, "last_layer_dropout": True}),
        (
            False,
            {
                "layer_structure": [1.0, 3.0, 0.5, 1.0],
                "activation_func": "mish",
                "is_layer_norm": True,
                "activate_output": False,
                "use_dropout": True,
                "dropout_structure": [0.0, 0.1, 0.2, 0.0],
            },
        ),
    ],
)
def test_files_of_every_age_are_read_as_the_web_ui_reads_them(tmp_path: Path, old: bool, told: dict[str, Any]) -> None:
    base = tiny_base()
    read = open_artifact(theirs(tmp_path / "net.pt", old=old, **told))
    same(base, read, a1111(tmp_path / "net.pt"))
    assert read.provenance["sd_checkpoint_name"] == "v1-5"
    formats()[FORMAT].write(read, tmp_path / "again.pt")
    same(base, read, a1111(tmp_path / "again.pt"))
    assert torch.load(tmp_path / "again.pt", weights_only=True)["step"] == 700
    save(read, tmp_path / "own.safetensors")
    assert gap(open_artifact(tmp_path / "own.safetensors").tensors, read.tensors) == 0


def test_what_a_file_is_told_by_its_header(tmp_path: Path) -> None:
    path = theirs(
        tmp_path / "net.pt", (320, 768), activation_func="relu", use_dropout=True, dropout_structure=[0, 0.2, 0]
    )
    found = recognise(TensorFile.open(path))
    assert (found.kind, found.format, found.family) == ("hypernetwork", FORMAT, "sd1")
    assert found.details["widths"] == "320, 768"
    assert found.details["structure"] == "1, 2, 1"
    assert found.details["activation"] == "relu"
    assert found.details["dropout"] == "0, 0.2, 0"
    assert recognise(TensorFile.open(theirs(tmp_path / "two.pt", (320, 1024)))).family == "sd2"
    assert recognise(TensorFile.open(theirs(tmp_path / "any.pt", (320,)))).family is None


def test_widths_that_a_base_lacks(tmp_path: Path) -> None:
    base = tiny_base()
    read = open_artifact(theirs(tmp_path / "more.pt", (8, 12, 16, 20)))
    with read.apply(base) as patch:
        assert {name.split(".")[0] for name in patch.tensors()} == {"8", "12", "16"}
    with open_artifact(theirs(tmp_path / "self.pt", (8,))).apply(base) as patch:
        assert {name.split(".")[0] for name in patch.tensors()} == {"8"}
    other = artifact((8, 1024))
    with pytest.raises(TriptychError, match="made for a base with text width 1024, this one has 12"), other.apply(base):
        pass
    with pytest.raises(TriptychError, match=r"another kind of base: 12\.v"):
        lame = {name: tensor for name, tensor in artifact((12,)).tensors.items() if name[:4] != "12.v"}
        Artifact(other.method, artifact((12,)).settings, lame).apply(base).__enter__()


def test_files_that_do_not_hold_what_they_say(tmp_path: Path) -> None:
    def refused(why: str, change: Any, **told: Any) -> None:
        held = torch.load(theirs(tmp_path / "net.pt", (12,), **told), weights_only=True)
        change(held)
        torch.save(held, tmp_path / "net.pt")
        with pytest.raises(TriptychError, match=why) as caught:
            open_artifact(tmp_path / "net.pt")
        assert "net.pt" in str(caught.value)

    refused(r"lacks the tensor 12\.1\.linear\.0\.bias", lambda held: held[12][1].pop("linear.0.bias"))
    refused(r"12\.0\.linear\.1\.weight is \(3, 3\)", lambda h: h[12][0].update({"linear.1.weight": torch.zeros(3, 3)}))
    refused(r"tensor 12\.0\.linear\.7\.bias", lambda held: held[12][0].update({"linear.7.bias": torch.zeros(3)}))
    refused(r"12\.0\.linear\.0\.bias.* not finite", lambda held: held[12][0]["linear.0.bias"].fill_(float("nan")))
    refused("activation cannot be 'glu'", lambda held: held.update(activation_func="glu"))
    refused("begin and end with 1", lambda held: held.update(layer_structure=[1, 2]))
    refused("layer_structure", lambda held: held.update(layer_structure="much"))
    refused("begin and end with 1", lambda held: held.update(layer_structure=[1, float("nan"), 1]))
    refused("dropout_structure", lambda held: held.update(dropout_structure=[0, "x", 0]))
    refused("dropout_structure", lambda held: held.update(dropout_structure=[None, 0, 0]))


@pytest.mark.slow
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    middle=strategies.lists(strategies.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0]), max_size=3),
    activation=strategies.sampled_from(sorted(ACTIVATIONS)),
    flags=strategies.tuples(strategies.booleans(), strategies.booleans()),
    widths=strategies.sets(strategies.sampled_from([2, 4, 8, 12]), min_size=1),
    dtype=strategies.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    seed=strategies.integers(0, 1000),
)
def test_any_hypernetwork_survives_both_files(
    tmp_path: Path,
    middle: list[float],
    activation: str,
    flags: tuple[bool, bool],
    widths: set[int],
    dtype: Any,
    seed: int,
) -> None:
    layers = ",".join(map(str, [1, *middle, 1]))
    ours = artifact(
        tuple(widths), seed, layers=layers, activation=activation, layer_norm=flags[0], activate_output=flags[1]
    )
    ours = Artifact(ours.method, ours.settings, {name: tensor.to(dtype) for name, tensor in ours.tensors.items()})
    for name, file in ((FORMAT, "net.pt"), ("triptych", "net.safetensors")):
        formats()[name].write(ours, tmp_path / file)
        back = open_artifact(tmp_path / file)
        assert gap(back.tensors, ours.tensors) == 0
        widened = name == FORMAT and dtype is torch.bfloat16  # which the web UI's checker did not always allow
        kept = torch.float32 if widened else dtype
        assert all(back.tensors[name].dtype is kept for name in ours.tensors)
        assert back.settings.structure == ours.settings.structure
        assert (back.settings.activation, back.settings.layer_norm, back.settings.activate_output) == (
            activation,
            *flags,
        )
