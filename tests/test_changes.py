"""One hook a layer for all owners: what it adds is what each owner's patch would add alone."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.worlds import learned, look, trial
from triptych.base import Base, Change, generator, spans
from triptych.exchange.artifact import Artifact, Part, compose
from triptych.methods.lora import Lora
from triptych.training.fit import fit

OWNERS = ("ann", "bob", "cid", "dee")
NETS: list[dict[str, Any]] = [
    {"spread": 0.2},
    {"spread": 0.2, "layers": "1,2,1.5,1", "activation": "gelu", "activate_output": True},
    {"spread": 0.2, "activation": "prelu", "layer_norm": True},
]
KINDS = [("lora", {}), *(("hypernetwork", net) for net in NETS)]


def artifact(base: Base, method: str, seed: int, **given: Any) -> Artifact:
    """With random tensors, so that nothing about it is zero."""
    one = learned(base, trial(method, steps=1, **given))
    random = generator("changed", seed)
    moved = {name: t + 0.1 * torch.randn(t.shape, generator=random) for name, t in one.tensors.items()}
    return Artifact(one.method, one.settings, moved)


@torch.no_grad()
def predicted(base: Base, rows: Mapping[str | None, int]) -> dict[str | None, Tensor]:
    """What the base predicts for each owner's rows, all of them in one call; the same rows for every owner."""
    stated = spans(rows.items())
    noisy = torch.cat([torch.randn(n, 4, 8, 8, generator=generator("noisy")) for n in rows.values()])
    with base.rows(stated):
        found = base.denoise(noisy, torch.full((len(noisy),), 500), base.encode(["a dog"] * len(noisy)))
    return {owner: found[mine] for owner, mine in stated.items()}


@pytest.mark.slow
@pytest.mark.parametrize(("method", "given"), KINDS, ids=lambda one: str(one))
@pytest.mark.parametrize("rows", [(2, 2, 2, 2), (1, 2, 2, 3)], ids=str)
def test_several_owners_at_once_as_each_alone(
    base: Base, method: str, given: dict[str, Any], rows: tuple[int, ...]
) -> None:
    artifacts = [artifact(base, method, seed, **given) for seed in range(4)]
    strengths = (1.0, 0.5, 0.0, 1.0)
    parts = [Part(*one) for one in zip(artifacts, strengths, OWNERS, strict=True)]
    with compose(base, *reversed(parts)):
        together = predicted(base, {**dict(zip(OWNERS, rows, strict=True)), "nobody": 1})
    assert torch.equal(together["nobody"], together["cid"][:1]), "strength 0 is the base"
    for one, strength, owner, count in zip(artifacts, strengths, OWNERS, rows, strict=True):
        with one.apply(base, strength):
            alone = predicted(base, {None: count})[None]
        assert torch.allclose(together[owner], alone, atol=2e-5)
        assert strength == 0 or not torch.allclose(together[owner][:1], together["nobody"], atol=1e-3)


def test_changes_of_all_rows_and_of_some_come_in_the_order_of_opening(base: Base) -> None:
    nets = [artifact(base, "hypernetwork", seed, spread=0.3) for seed in range(3)]
    parts = [Part(nets[0], owner="ann"), Part(nets[1]), Part(nets[2], owner="ann"), Part(nets[0], owner="bob")]
    with compose(base, *parts):
        together = predicted(base, {"ann": 2, "bob": 2})
    for owner, chain in (("ann", (0, 1, 2)), ("bob", (1, 0))):
        with compose(base, *(Part(nets[i]) for i in chain)):
            assert torch.allclose(together[owner], predicted(base, {None: 2})[None], atol=2e-5)
    with compose(base, Part(nets[0]), Part(nets[1])):
        assert not torch.allclose(together["bob"], predicted(base, {None: 2})[None], atol=1e-4), "nets chain"


@pytest.mark.slow
def test_one_hook_a_layer_and_closed_in_any_order(base: Base) -> None:
    artifacts = {owner: artifact(base, "lora", i) for i, owner in enumerate(OWNERS)}
    plain = look(base)
    opened = {owner: ExitStack() for owner in OWNERS}
    for owner, stack in opened.items():
        stack.enter_context(artifacts[owner].apply(base, owner=owner))
    layers = list(base.denoiser.module.modules())
    assert {len(layer._forward_hooks) for layer in layers} == {0, 1}
    for owner in ("bob", "dee", "ann"):
        opened[owner].close()
    with artifacts["cid"].apply(base):
        pass
    remaining = look(base)
    opened["cid"].close()
    assert torch.equal(look(base), plain)
    assert not any(layer._forward_hooks for layer in layers)
    with artifacts["cid"].apply(base):
        assert torch.equal(look(base), remaining)


def test_a_change_that_layers_share_is_computed_once_a_call(base: Base) -> None:
    calls = []

    def add(x: Tensor) -> Tensor:
        calls.append(len(x))
        return x

    layers, x = [torch.nn.Linear(3, 3) for _ in range(4)], torch.ones(3, 5, 3)
    change = Change("ann", add, (), lambda: 1.0, reused=True)
    with ExitStack() as undo:
        for layer in layers:
            undo.enter_context(base.changes.on(layer, "receives", change))
        for rows in (1, 2):
            with base.rows({"ann": slice(0, rows), "bob": slice(rows, 3)}):
                given = [layer(x) for layer in layers]
            doubled = torch.cat([2 * x[:rows], x[rows:]])
            with base.rows({"bob": slice(0, 3)}):
                assert all(torch.equal(y, layer(doubled)) for y, layer in zip(given, layers, strict=True))
    assert calls == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("owners", [(None,), ("ann", "bob")], ids=str)
@pytest.mark.parametrize("with_unet", [True, False])
def test_a_lora_on_the_text_encoder_gets_its_gradient(
    base: Base, monkeypatch: pytest.MonkeyPatch, with_unet: bool, owners: tuple[str | None, ...]
) -> None:
    inside = "text_model.encoder.layers.0.self_attn.q_proj"
    layer = next(m for path, m in base.texts[0].encoder.named_modules() if inside.endswith(path) and "q_proj" in path)
    unet = Lora.start

    def start(self: Lora, *given: Any) -> dict[str, Tensor]:
        halves = {"lora_A": torch.ones(8, layer.in_features), "lora_B": torch.zeros(layer.out_features, 8)}
        text = {f"text_encoder.{inside}.{half}.weight": tensor for half, tensor in halves.items()}
        return {**(unet(self, *given) if with_unet else {}), **text}

    monkeypatch.setattr(Lora, "start", start)
    for fitted in fit(base, [trial("lora", owner, seed) for seed, owner in enumerate(owners)]):
        assert f"text_encoder.{inside}.lora_B.weight" in fitted.tensors
        assert all(tensor.any() for name, tensor in fitted.tensors.items() if "lora_B" in name)
