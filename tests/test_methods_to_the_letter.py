"""What each method can be told: each setting changes the result as it should, and files mean the same elsewhere."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.test_laws import KilledError, kill_at, unchanged
from tests.worlds import examples, gap, look, settings, trial
from triptych.base import Base, tiny_base
from triptych.data.examples import Examples
from triptych.errors import TriptychError
from triptych.exchange.artifact import Artifact
from triptych.exchange.extract import extract_lora
from triptych.exchange.formats import open_artifact
from triptych.exchange.saving import save
from triptych.methods import method_named
from triptych.methods.hypernetwork import INITIALISATIONS
from triptych.methods.lora import Settings
from triptych.patching.adapter_starts import STARTS
from triptych.patching.adapters import by_layer
from triptych.patching.patch import Tensors
from triptych.training.fit import Fitted, Trial, fit
from triptych.training.moments import Moment

Lora = method_named("lora")


def one(base: Base, method: str = "lora", **given: Any) -> Fitted:
    return fit(base, [trial(method, **given)])[0]


def started(base: Base, **given: Any) -> Tensors:
    found: Tensors = Lora.start(base, settings("lora", **given), 1)
    return found


# --- LoRA and its relatives ------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("conv_rank", [0, 2])
@pytest.mark.parametrize("name", STARTS)
def test_every_algorithm_starts_at_the_base_learns_and_is_read_back(
    base: Base, name: str, conv_rank: int, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"algorithm": name, "rank": 2, "conv_rank": conv_rank, "lr": 1e-2, "steps": 10}
    plain = look(base)
    with Artifact("lora", settings("lora", **given), started(base, **given)).apply(base):
        assert torch.allclose(look(base), plain, atol=1e-5)
    with unchanged(base):
        fitted = one(base, fixed_every=5, schedule="constant", **given)
    assert fitted.fixed[-1][1] < fitted.fixed[0][1]
    artifact = Artifact("lora", settings("lora", **given), fitted.tensors)
    for layout in ("triptych", "kohya-lora"):
        path = tmp_path / f"{layout}.safetensors"
        save(artifact, path, to=layout, base=base)
        with artifact.apply(base):
            learned = look(base)
        with open_artifact(path).apply(base):
            assert torch.allclose(look(base), learned, atol=1e-5)
        assert not torch.allclose(learned, plain, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in STARTS if name != "lora"])
def test_every_algorithm_trains_jointly_as_alone_and_resumes(base: Base, name: str, tmp_path: Path) -> None:
    several = [trial("lora", "a", 1, algorithm=name), trial("lora", "b", 2), trial("lora", "c", 3, algorithm=name)]
    together = fit(base, several)
    for fitted, each in zip(together, several, strict=True):
        assert gap(fitted.tensors, fit(base, [replace(each, owner=None)])[0].tensors) < 2e-4
    with pytest.raises(KilledError):
        fit(base, several, state=tmp_path / "state.pt", every=1, progress=kill_at(3))
    for a, b in zip(together, fit(base, several, state=tmp_path / "state.pt"), strict=True):
        assert gap(a.tensors, b.tensors) == 0


def test_gradients_of_loha_and_dora_are_those_of_the_whole_weight(base: Base) -> None:
    """Against the finite difference of the loss in one number of each kind of tensor."""
    for name in ("loha", "lokr", "ia3", "lora"):
        given: dict[str, Any] = {"algorithm": name, "rank": 2, "batch": 1, "steps": 1, "lr": 0.0}
        with Artifact("lora", settings("lora", **given), started(base, **given)).apply(base) as patch:
            leaf = next(iter(patch.parameters().values()))[-1]
            leaf.requires_grad_(True)
            noisy = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
            text = base.encode(["a dog"])
            loss = base.denoise(noisy, torch.tensor([500]), text).square().sum()
            (gradient,) = torch.autograd.grad(loss, leaf)
            with torch.no_grad():
                place = int(gradient.abs().flatten().argmax())
                ends = []
                for step in (1e-2, -2e-2):
                    leaf.view(-1)[place] += step
                    ends.append(float(base.denoise(noisy, torch.tensor([500]), text).square().sum()))
                slope = (ends[0] - ends[1]) / 2e-2
            leaf.requires_grad_(False)
            assert slope == pytest.approx(float(gradient.flatten()[place]), rel=0.1, abs=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_text_encoders_train_at_a_rate_of_their_own(kind: Any) -> None:
    base = tiny_base(kind=kind)
    plain, both = one(base), one(base, text_lr=1e-3)
    parts = {name.partition(".")[0] for name in both.tensors}
    assert parts == {"unet", *(text.name for text in base.texts)}
    assert {name.partition(".")[0] for name in plain.tensors} == {"unet"}
    slow = one(base, text_lr=1e-9)
    ends = {name: float(t.abs().max()) for name, t in slow.tensors.items() if "lora_B" in name}
    moved = {part: max(end for name, end in ends.items() if name.startswith(f"{part}.")) for part in parts}
    assert moved.pop("unet") > 1e-3
    assert max(moved.values()) < 1e-6
    several = [trial("lora", "a", 1, text_lr=1e-3), trial("lora", "b", 2, text_lr=1e-3), trial("lora", "c", 3)]
    for fitted, each in zip(fit(base, several), several, strict=True):
        assert gap(fitted.tensors, fit(base, [replace(each, owner=None)])[0].tensors) < 5e-5


def test_chosen_blocks_convolutions_and_ranks_by_pattern(base: Base) -> None:
    everything = by_layer(started(base))
    middle = by_layer(started(base, blocks="mid_block"))
    assert middle.keys() == {path for path in everything if "mid_block" in path}
    assert by_layer(started(base, blocks="mid_block|attn2")).keys() > middle.keys()
    convolutions = by_layer(started(base, conv_rank=3)).keys() - everything.keys()
    assert convolutions and all(".conv" in path or "sample" in path for path in convolutions)
    ranks = by_layer(started(base, rank=2, alpha=2.0, ranks="mid_block=4, attn2.to_k=6:3"))
    for path, leaves in ranks.items():
        expected = (4, 2.0) if "mid_block" in path else (6, 3.0) if "attn2.to_k" in path else (2, None)
        found = len(leaves["lora_A.weight"]), float(leaves["alpha"]) if "alpha" in leaves else None
        assert found == expected, path
    for given, why in {
        ("blocks", "nothing"): "no layer of the unet", ("blocks", "("): "regular expression",
        ("ranks", "mid_block"): "PATTERN=RANK", ("ranks", "mid_block=x"): "PATTERN=RANK",
        ("ranks", "mid=0"): "PATTERN=RANK", ("ranks", "mid_block=4, nowhere=2"): "contains 'nowhere'",
    }.items():  # fmt: skip
        with pytest.raises(TriptychError, match=why):
            started(base, **dict([given]))
    with pytest.raises(TriptychError, match="no convolutions"):
        started(tiny_base(kind="zimage"), conv_rank=2)
    with pytest.raises(TriptychError, match="no layer of the text_encoder"):
        started(base, text_lr=1e-3, blocks="mid_block")


def test_rslora_scales_by_the_root_of_the_rank(base: Base) -> None:
    plain, stable = started(base, rank=4, alpha=4.0), started(base, rank=4, alpha=4.0, rslora=True)
    assert {float(leaves["alpha"]) for leaves in by_layer(stable).values()} == {8.0}
    moved = {name: t + 0.1 if "lora_B" in name else t for name, t in plain.items()}
    strong = {name: moved.get(name, t) for name, t in stable.items()}
    with Artifact("lora", settings("lora", rank=4, alpha=8.0), moved).apply(base):
        twice = look(base)
    with Artifact("lora", settings("lora", rank=4, alpha=4.0, rslora=True), strong).apply(base):
        assert torch.allclose(look(base), twice, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("given", [{"rslora": True}, {"ranks": "mid_block=4:1", "conv_rank": 3}], ids=["rs", "ranks"])
@pytest.mark.parametrize("layout", ["triptych", "kohya-lora", "diffusers-lora"])
def test_own_alphas_survive_every_layout(base: Base, layout: str, given: dict[str, Any], tmp_path: Path) -> None:
    fitted = one(base, lr=1e-2, **given)
    artifact = Artifact("lora", settings("lora", lr=1e-2, **given), fitted.tensors, {"seed": "1"})
    save(artifact, tmp_path / "a.safetensors", to=layout, base=base)
    with artifact.apply(base):
        learned = look(base)
    with open_artifact(tmp_path / "a.safetensors").apply(base):
        assert torch.allclose(look(base), learned, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "hypernetwork"])
def test_dropout_hides_in_training_alone(base: Base, method: str, tmp_path: Path) -> None:
    plain, hidden = one(base, method), one(base, method, dropout=0.5)
    assert gap(plain.tensors, hidden.tensors) > 1e-5
    assert gap(hidden.tensors, one(base, method, dropout=0.5).tensors) == 0
    assert plain.fixed[0] == hidden.fixed[0], "what is looked at has no dropout"
    artifact = Artifact(method, settings(method, dropout=0.5), hidden.tensors)
    without = Artifact(method, settings(method), hidden.tensors)
    with artifact.apply(base):
        seen = look(base)
    with without.apply(base):
        assert torch.allclose(look(base), seen, atol=1e-6)
    several = [trial(method, "a", 1, dropout=0.5), trial(method, "b", 2), trial(method, "c", 3, dropout=0.5)]
    for fitted, each in zip(fit(base, several), several, strict=True):
        judged = [name for name in fitted.tensors if not (".k.linear" in name and name.endswith("bias"))]
        alone = fit(base, [replace(each, owner=None)])[0].tensors
        assert gap({n: fitted.tensors[n] for n in judged}, {n: alone[n] for n in judged}) < 5e-5
    with pytest.raises(KilledError):
        fit(base, several, state=tmp_path / "state.pt", every=1, progress=kill_at(3))
    for a, b in zip(fit(base, several), fit(base, several, state=tmp_path / "state.pt"), strict=True):
        assert gap(a.tensors, b.tensors) == 0
    again = one(base, method, dropout=0.5, checkpointing=True).tensors
    assert gap({n: hidden.tensors[n] for n in judged}, {n: again[n] for n in judged}) < 1e-5


# --- Textual Inversion -----------------------------------------------------------------------------------------------


def test_a_word_starts_from_several_words(base: Base) -> None:
    table = base.texts[0].table

    def mean(word: str) -> torch.Tensor:
        with torch.no_grad():
            return table(torch.tensor(base.texts[0].spell([word])[0])).mean(dim=0)

    start = one(base, "textual-inversion", lr=0.0, vectors=3, start_word="dog,cat").tensors["emb_params"]
    assert torch.allclose(start, torch.stack([mean("dog"), mean("cat"), mean("cat")]))
    alone = one(base, "textual-inversion", lr=0.0, vectors=3, start_word="dog").tensors["emb_params"]
    spelled = base.texts[0].spell(["dog"])[0]
    with torch.no_grad():
        assert torch.equal(alone, table(torch.tensor(spelled[:3])))


@pytest.mark.slow
def test_vectors_of_fixed_length_turn_and_do_not_grow(base: Base) -> None:
    start = one(base, "textual-inversion", lr=0.0).tensors["emb_params"]
    free = one(base, "textual-inversion", lr=0.1).tensors["emb_params"]
    fixed = one(base, "textual-inversion", lr=0.1, length="fixed").tensors["emb_params"]
    assert torch.allclose(fixed.norm(dim=1), start.norm(dim=1), rtol=1e-5)
    assert not torch.allclose(free.norm(dim=1), start.norm(dim=1), rtol=1e-2)
    assert not torch.allclose(fixed, start, atol=1e-2)


def test_shuffled_vectors_stand_in_another_order_at_each_step_of_training_alone(base: Base) -> None:
    method = method_named("textual-inversion")
    chosen = settings("textual-inversion", vectors=3, token="<fox>", start_word="dog", shuffle=True)
    prompts = ["a <fox>", "a <fox> in the sun"]

    def orders() -> list[tuple[int, ...]]:
        return [tuple(piece for piece in spelled if piece >= known) for spelled in base.texts[0].spell(prompts)]

    known = len(base.texts[0].table.weight)
    with Artifact("textual-inversion", chosen, method.start(base, chosen, 1)).apply(base) as patch:
        usual = orders()
        assert usual == [(known, known + 1, known + 2)] * 2
        seen = []
        for step in range(20):
            patch.begin(1, step)
            seen.append(orders())
            assert orders() == seen[-1]
            with torch.no_grad():
                assert orders() == usual
    assert {tuple(sorted(order)) for each in seen for order in each} == {usual[0]}
    assert len({order for each in seen for order in each}) == 6
    assert any(first != second for first, second in seen)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["textual-inversion", "p-plus"])
def test_shuffling_trains_otherwise_jointly_as_alone_and_resumes(base: Base, method: str, tmp_path: Path) -> None:
    several = [trial(method, name, seed, vectors=3, shuffle=name != "b") for seed, name in enumerate("abc")]
    together = fit(base, several)
    for fitted, each in zip(together, several, strict=True):
        assert gap(fitted.tensors, fit(base, [replace(each, owner=None)])[0].tensors) < 2e-4
    plain = trial(method, "a", 0, vectors=3)
    assert gap(together[0].tensors, fit(base, [plain])[0].tensors) > 1e-3
    with pytest.raises(KilledError):
        fit(base, several, state=tmp_path / "state.pt", every=1, progress=kill_at(3))
    for a, b in zip(together, fit(base, several, state=tmp_path / "state.pt"), strict=True):
        assert gap(a.tensors, b.tensors) == 0


# --- Hypernetwork ----------------------------------------------------------------------------------------------------


def test_initialisations_have_their_spread(base: Base) -> None:
    method = method_named("hypernetwork")
    for name in INITIALISATIONS:
        given = {"initialisation": name, "layers": "1,20,1", "activation": "relu"}
        tensors = method.start(base, settings("hypernetwork", **given), 1)
        for key, tensor in tensors.items():
            if key.endswith("weight"):
                outputs, inputs = tensor.shape
                fan = 2 / (inputs + outputs) if name.startswith("xavier") else 2 / inputs
                spread = 0.01 if name == "normal" else math.sqrt(fan)
                assert float(tensor.std()) == pytest.approx(spread, rel=0.15), (name, key)
            else:
                assert not tensor.any()


def collapsing(**given: Any) -> Trial:
    more = {"lr": 3.0, "schedule": "constant", "steps": 30, "fixed_every": 2, "rescue": 1.05, **given}
    return trial("hypernetwork", seed=1, **more)


@pytest.mark.slow
def test_a_collapse_goes_back_and_on_at_a_lower_rate(base: Base) -> None:
    lost = fit(base, [collapsing(rescue=0.0)])[0]
    told: list[str] = []
    saved = fit(base, [collapsing()], note=told.append)[0]
    assert told and "it collapsed: back to step" in told[0] and "0.5 of the learning rate" in told[0]
    worst = max(loss for _, loss in lost.fixed)
    assert worst > 1.05 * min(loss for _, loss in lost.fixed), "without it the loss is lost"
    assert saved.failure is None
    assert saved.fixed[-1][1] < lost.fixed[-1][1] - 0.05


def test_moving_averages_go_back_too(base: Base) -> None:
    def lose(moment: Moment) -> None:
        if moment.done == 3:
            moment.each[0][0].averages[0].fill_(float("nan"))

    told: list[str] = []
    saved = fit(base, [trial("hypernetwork", fixed_every=2, ema=0.9)], note=told.append, watch=lose)[0]
    assert len(told) == 1 and "it collapsed: back to step 2" in told[0]
    assert saved.failure is None and all(bool(tensor.isfinite().all()) for tensor in saved.tensors.values())


def test_a_training_that_does_not_collapse_is_left_alone(base: Base) -> None:
    assert gap(one(base, "hypernetwork").tensors, one(base, "hypernetwork", rescue=0.0).tensors) == 0
    with pytest.raises(TriptychError, match="rescue is above 1"):
        one(base, "hypernetwork", rescue=0.5)


@pytest.mark.slow
def test_a_rescue_leaves_the_others_of_its_pass_alone_and_resumes(base: Base, tmp_path: Path) -> None:
    sound = trial("hypernetwork", "b", 2, steps=30, fixed_every=2, rescue=0.0)
    several = [replace(collapsing(), owner="a"), sound]
    told: list[str] = []
    whole = fit(base, several, note=told.append)
    assert told and all(line.startswith("a: it collapsed") for line in told)
    alone = fit(base, [replace(sound, owner=None)])[0].tensors
    judged = [name for name in alone if not (".k.linear" in name and name.endswith("bias"))]
    assert gap({n: whole[1].tensors[n] for n in judged}, {n: alone[n] for n in judged}) < 1e-4
    for step in (5, 15):
        state = tmp_path / f"{step}.pt"
        with pytest.raises(KilledError):
            fit(base, several, state=state, every=1, progress=kill_at(step))
        for a, b in zip(whole, fit(base, several, state=state, every=1), strict=True):
            assert gap(a.tensors, b.tensors) == 0
            assert a.losses == b.losses


# --- DreamBooth ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_dreambooth_trains_text_encoders_by_choice(base: Base, tmp_path: Path) -> None:
    with unchanged(base):
        both = one(base, "dreambooth", text_lr=1e-3)
    parts = {name.partition(".")[0] for name in both.tensors}
    assert parts == {"unet", "text_encoder"}
    assert max(float(t.abs().max()) for name, t in both.tensors.items() if name.startswith("text")) > 1e-4
    assert {name.partition(".")[0] for name in one(base, "dreambooth").tensors} == {"unet"}
    artifact = Artifact("dreambooth", settings("dreambooth", text_lr=1e-3), both.tensors)
    save(artifact, tmp_path / "a.safetensors")
    with artifact.apply(base):
        seen, text = look(base), base.encode(["a dog"]).hidden
    with unchanged(base), open_artifact(tmp_path / "a.safetensors").apply(base):
        assert torch.equal(look(base), seen)
        assert torch.equal(base.encode(["a dog"]).hidden, text)
    assert not torch.equal(base.encode(["a dog"]).hidden, text)


def test_the_nearest_lora_has_the_text_encoders_too(base: Base) -> None:
    learned = one(base, "dreambooth", text_lr=1e-2).tensors
    linear = {n: t for n, t in learned.items() if n.startswith("text_encoder.") and "_proj.weight" in n}
    found = extract_lora(linear, 12)
    changed = Artifact("lora", Lora.configure({"rank": 12, "alpha": 12.0}), found.tensors)
    with Artifact("dreambooth", settings("dreambooth", text_lr=1e-2), learned).apply(base):
        whole = base.encode(["a dog"]).hidden
    plain = base.encode(["a dog"]).hidden
    with changed.apply(base):
        near = base.encode(["a dog"]).hidden
    assert 0 < float((near - whole).norm()) < float((plain - whole).norm())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dreambooth", "dreambooth-lora"])
def test_own_pictures_of_the_class_take_the_place_of_the_bases(
    base: Base, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    from triptych.sampling import prior

    def refused(*given: Any) -> None:
        raise AssertionError("the base's own pictures are not sampled")

    theirs = one(base, method)
    monkeypatch.setattr(prior, "prior_latents", refused)
    with_own = trial(method)
    own = Examples(with_own.examples.each, examples(3, 77, ("a {} in the sun",)).each)
    fitted = fit(base, [replace(with_own, examples=own)])[0]
    assert gap(theirs.tensors, fitted.tensors) > 1e-5
    sources = method_named(method).sources(base, with_own.settings, own, "dog")
    assert (len(sources[1].examples), sources[1].prompts[0]) == (3, "a dog in the sun")


def test_every_setting_has_words() -> None:
    from triptych.settings import describe

    assert all(entry.explanation for entry in describe(Settings))
