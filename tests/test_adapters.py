"""Each relative of LoRA against the package that defines it: lycoris-lora's and peft's layers, of the same tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from triptych.errors import TriptychError
from triptych.patching.adapters import algorithm_of, by_layer, change_of

CONV, LINEAR, POINT = "conv", "linear", "pointwise"


def layer_of(kind: str) -> nn.Module:
    torch.manual_seed(1)
    if kind == LINEAR:
        return nn.Linear(12, 16)
    size = 3 if kind == CONV else 1
    return nn.Conv2d(12, 16, size, padding=size // 2)


def seen(kind: str) -> Tensor:
    return torch.randn(2, 5, 12) if kind == LINEAR else torch.randn(2, 12, 6, 6)


def lycoris(module: str, name: str, **more: Any) -> Callable[[nn.Module], nn.Module]:
    def make(layer: nn.Module) -> nn.Module:
        from importlib import import_module

        kind = getattr(import_module(f"lycoris.modules.{module}"), name)
        found: nn.Module = kind("x", layer, 1.0, **more)
        return found

    return make


MADE: dict[str, Callable[[nn.Module], nn.Module]] = {
    "locon": lycoris("locon", "LoConModule", lora_dim=4, alpha=2.0),
    "locon with a core": lycoris("locon", "LoConModule", lora_dim=4, alpha=2.0, use_tucker=True),
    "dora over outputs": lycoris("locon", "LoConModule", lora_dim=4, alpha=3.0, weight_decompose=True, wd_on_out=True),
    "dora over inputs": lycoris("locon", "LoConModule", lora_dim=4, alpha=3.0, weight_decompose=True, wd_on_out=False),
    "loha": lycoris("loha", "LohaModule", lora_dim=3, alpha=2.0),
    "loha with a core": lycoris("loha", "LohaModule", lora_dim=3, alpha=2.0, use_tucker=True),
    "lokr": lycoris("lokr", "LokrModule", lora_dim=1, alpha=2.0, factor=4),
    "lokr of two low ranks": lycoris("lokr", "LokrModule", lora_dim=1, alpha=2.0, factor=4, decompose_both=True),
    "lokr with a core": lycoris("lokr", "LokrModule", lora_dim=1, alpha=2.0, factor=4, use_tucker=True),
    "lokr whole": lycoris("lokr", "LokrModule", lora_dim=64, alpha=2.0, factor=4, full_matrix=True),
    "dora of lokr": lycoris("lokr", "LokrModule", lora_dim=1, alpha=2.0, factor=4, weight_decompose=True),
    "ia3 over outputs": lycoris("ia3", "IA3Module"),
    "ia3 over inputs": lycoris("ia3", "IA3Module", train_on_input=True),
    "oft": lycoris("diag_oft", "DiagOFTModule", lora_dim=4),
    "oft with a constraint": lycoris("diag_oft", "DiagOFTModule", lora_dim=4, constraint=0.01, rescaled=True),
    "boft": lycoris("boft", "ButterflyOFTModule", lora_dim=4),
    "boft with a constraint": lycoris("boft", "ButterflyOFTModule", lora_dim=4, constraint=0.01, rescaled=True),
    "full": lycoris("full", "FullModule"),
}  # fmt: skip


@pytest.mark.parametrize("kind", [LINEAR, POINT, CONV])
@pytest.mark.parametrize("name", MADE)
def test_as_lycoris(name: str, kind: str) -> None:
    """Its module, trained a little, gives the output that the layer gives with our change of its weight."""
    layer = layer_of(kind)
    module = MADE[name](layer)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    state = {key: value.detach().clone() for key, value in module.state_dict().items()}
    if name == "full":
        state = {"diff": torch.randn(layer.weight.shape), "diff_b": torch.randn(16)}
        with torch.no_grad():
            module = type(module).make_module_from_state_dict("x", layer, state["diff"], state["diff_b"])
    x = seen(kind)
    with torch.no_grad():
        plain = layer(x)
        module.apply_to()
        theirs = layer(x)
        module.restore()
    ours = {
        {"lora_down.weight": "lora_A.weight", "lora_up.weight": "lora_B.weight"}.get(k, k): v for k, v in state.items()
    }
    change = change_of("x", ours, layer.weight, None)
    with torch.no_grad():
        layer.weight += change
        if "diff_b" in ours:
            layer.bias += ours["diff_b"]
        assert torch.allclose(layer(x), theirs, atol=2e-5)
    assert not torch.allclose(plain, theirs, atol=1e-3)


PEFTS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("LoraConfig", {"r": 4, "lora_alpha": 6.0}),
    "dora": ("LoraConfig", {"r": 4, "lora_alpha": 6.0, "use_dora": True}),
    "loha": ("LoHaConfig", {"r": 3, "alpha": 2.0}),
    "lokr": ("LoKrConfig", {"r": 2, "alpha": 2.0, "decompose_factor": 4}),
}


@pytest.mark.parametrize("name", PEFTS)
def test_as_peft(name: str) -> None:
    import peft

    torch.manual_seed(2)
    net = nn.Sequential()
    net.add_module("layer", nn.Linear(12, 16))
    before = net.layer.weight.detach().clone()
    kind, more = PEFTS[name]
    first = {"init_lora_weights": False} if kind == "LoraConfig" else {"init_weights": False}
    wrapped = peft.get_peft_model(net, getattr(peft, kind)(target_modules=["layer"], **first, **more))
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape))
    state = peft.get_peft_model_state_dict(wrapped)
    leaves = {key.removeprefix("base_model.model.layer."): value for key, value in state.items()}
    if "lora_magnitude_vector" in leaves:
        leaves["dora_scale"] = leaves.pop("lora_magnitude_vector").unsqueeze(1)
    change = change_of("x", leaves, before, more.get("lora_alpha", more.get("alpha")))
    x = torch.randn(3, 12)
    with torch.no_grad():
        theirs = wrapped(x)
        ours = nn.functional.linear(x, before + change, wrapped.base_model.model.layer.base_layer.bias)
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_norms() -> None:
    leaves = {"w_norm": torch.randn(8), "b_norm": torch.randn(8)}
    assert torch.equal(change_of("x", leaves, torch.ones(8), None), leaves["w_norm"])


@pytest.mark.parametrize(
    ("leaves", "why"),
    [
        ({"lora_A.weight": (2, 12)}, r"without lora_B.weight"),
        ({"hada_w1_a": (2, 12), "hada_w1_b": (2, 12), "hada_w2_a": (2, 2)}, r"without hada_w2_b"),
        ({"lora_A.weight": (2, 12), "lora_B.weight": (16, 2), "hada_t1": (1,)}, r"does not go with"),
        ({"alpha": ()}, r"no kind of LoRA"),
        ({"lora_A.weight": (2, 11), "lora_B.weight": (16, 2)}, r"x.lora_A.weight is \(2, 11\)"),
        ({"oft_blocks": (3, 5, 5)}, r"x.oft_blocks is \(3, 5, 5\)"),
        ({"diff": (3, 3)}, r"x.diff is \(3, 3\)"),
    ],
)
def test_what_does_not_fit(leaves: dict[str, tuple[int, ...]], why: str) -> None:
    tensors = {leaf: torch.zeros(shape) for leaf, shape in leaves.items()}
    with pytest.raises(TriptychError, match=why):
        change_of("x", tensors, torch.zeros(16, 12), None)


def test_names() -> None:
    with pytest.raises(TriptychError, match=r"x\.y is of no kind"):
        by_layer({"x.y": torch.zeros(1)})
    assert by_layer({"a.b.lora_A.weight": 1, "a.b.alpha": 2}) == {"a.b": {"lora_A.weight": 1, "alpha": 2}}
    assert algorithm_of("a", {"weight": 1, "on_input": 1}).name == "IA3"
