"""Methods that learn a word beside something else, and relatives of LoRA that are methods of their own."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from tests.worlds import SAY, WORD, gap, learned, look, trial
from triptych.app.calling import attached_by
from triptych.app.repeating import Before
from triptych.base import Base, Place, tiny_base
from triptych.errors import TriptychError
from triptych.exchange.artifact import Artifact, compose
from triptych.exchange.conversion import ConversionRequest, convert
from triptych.exchange.export import Change, write_single_file
from triptych.exchange.formats import open_artifact
from triptych.exchange.inspection import inspect
from triptych.exchange.saving import save
from triptych.methods import method_named
from triptych.mixing.merge import merge
from triptych.mixing.request import Ingredient, Mix
from triptych.patching.patch import Tensors
from triptych.prompt.runs import Weighted
from triptych.sampling.generate import sample
from triptych.sampling.request import Request
from triptych.training.fit import Trial, fit
from triptych.training.moments import Moment

ORIGIN = {
    "says": WORD, "base": "tiny", "family": "sd1", "seed": "1", "pictures": "p", "kind": "subject",
    "class_word": "dog", "token": WORD,
}  # fmt: skip
WORDED = ["pivotal", "custom-diffusion"]


def written(base: Base, one: Trial, path: Path, to: str = "kohya-lora") -> tuple[Artifact, Tensors]:
    """Train, and write the file that `triptych train` writes. Returns the artifact of the file, and all tensors."""
    tensors = fit(base, [one])[0].tensors
    artifact = Artifact.trained(one.method, one.settings, tensors, ORIGIN)
    save(artifact, path, to=to, base=base)
    return artifact, tensors


def pipeline(base: Base) -> Any:
    text = base.texts[0]
    return StableDiffusionPipeline(
        base.vae, text.encoder, text.tokenizer, base.denoiser.module, base.process.schedule, None, None,
        requires_safety_checker=False,
    )  # fmt: skip


# --- a word beside something else -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WORDED)
def test_its_file_is_a_lora_that_bundles_the_word(base: Base, name: str, tmp_path: Path) -> None:
    one, path = trial(name), tmp_path / "both.safetensors"
    artifact, tensors = written(base, one, path)
    assert artifact.method == "lora"
    assert list(artifact.beside.words) == [WORD]
    assert torch.equal(load_file(path)[f"bundle_emb.{WORD}.string_to_param.*"], tensors["emb_params"])
    found = inspect(path)
    assert (found.kind, found.details["embeddings within"], found.triggers) == ("lora", WORD, (WORD,))
    with method_named(name).patch(base, one.settings, tensors):
        whole = look(base)
    with compose(base, *attached_by(str(path), lambda sentence: None).parts):
        assert torch.allclose(look(base), whole, atol=1e-6)
    with open_artifact(path).apply(base):
        assert not torch.allclose(look(base), whole, atol=1e-4), "the word is a part of it"


@pytest.mark.slow
@pytest.mark.parametrize("name", WORDED)
def test_each_part_has_a_rate_of_its_own(base: Base, name: str) -> None:
    start = method_named(name).start(base, trial(name).settings, 1)
    for still, given in (("emb_params", {"word_lr": 0.0}), ("layers", {"lr": 0.0})):
        tensors = fit(base, [trial(name, **given)])[0].tensors
        moved = {key for key in start if not torch.equal(tensors[key], start[key])}
        assert moved == (set(start) - {still} if still == "emb_params" else {"emb_params"}) & moved
        assert moved


@pytest.mark.slow
def test_the_word_may_end_before_the_rest(base: Base) -> None:
    seen: dict[int, Tensors] = {}

    def watch(moment: Moment) -> None:
        seen[moment.done] = moment.tensors(None)

    fit(base, [trial("pivotal", word_until=0.5)], watch=watch)
    assert torch.equal(seen[3]["emb_params"], seen[6]["emb_params"])
    assert not torch.equal(seen[2]["emb_params"], seen[3]["emb_params"])
    assert gap({**seen[3], "emb_params": seen[6]["emb_params"]}, seen[6]) > 0
    fit(base, [trial("pivotal", word_until=1.0)], watch=watch)
    assert not torch.equal(seen[3]["emb_params"], seen[6]["emb_params"])


@pytest.mark.slow
def test_a_pair_of_files_for_diffusers(base: Base, tmp_path: Path) -> None:
    """diffusers loads the LoRA and the word apart; together they encode and predict as ours do."""
    path = tmp_path / "both.safetensors"
    _, tensors = written(base, trial("pivotal", vectors=1), path)
    notes = convert(ConversionRequest(path, "diffusers-lora", tmp_path / "lora.safetensors"))
    assert any("left out the embeddings within (<concept>)" in note for note in notes)
    convert(ConversionRequest(path, "diffusers-embedding", tmp_path / "word.safetensors"))
    assert torch.equal(open_artifact(tmp_path / "word.safetensors").tensors["emb_params"], tensors["emb_params"])
    other = tiny_base()
    theirs = pipeline(other)
    theirs.load_lora_weights(tmp_path, weight_name="lora.safetensors")
    theirs.load_textual_inversion(tmp_path, weight_name="word.safetensors")
    added = theirs.tokenizer.convert_tokens_to_ids(WORD)
    assert torch.equal(theirs.text_encoder.get_input_embeddings().weight[added], tensors["emb_params"][0])
    noisy, t = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([300])
    with torch.no_grad(), compose(base, *attached_by(str(path), lambda sentence: None).parts):
        context = base.encode([SAY])
        ours = base.denoise(noisy, t, context)
    with torch.no_grad():
        assert torch.allclose(other.denoiser.module(noisy, t, context.hidden).sample, ours, atol=1e-5)


def test_its_training_can_be_repeated_from_the_file(base: Base, tmp_path: Path) -> None:
    one = trial("pivotal", word_until=0.25, rank=2, fixed_every=0)
    written(base, one, tmp_path / "both.safetensors")
    before = Before.of(tmp_path / "both.safetensors")
    assert before.method == "pivotal"
    assert method_named("pivotal").configure(before.settings) == one.settings


@pytest.mark.slow
def test_a_mix_keeps_the_words_and_says_which(base: Base, tmp_path: Path) -> None:
    a, b = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    for path, seed in ((a, 1), (b, 2)):
        written(base, trial("pivotal", seed=seed), path)
    made = merge(Mix((Ingredient(a), Ingredient(b)), "weighted-sum"), tmp_path / "mix.safetensors")
    assert any("bundle the word '<concept>': that of the first is kept" in note for note in made.notes)
    words = [open_artifact(path).beside.words[WORD].tensors for path in (tmp_path / "mix.safetensors", a)]
    assert gap(*words) == 0


def test_a_file_of_several_words_is_no_single_embedding(base: Base, tmp_path: Path) -> None:
    artifact, _ = written(base, trial("pivotal"), tmp_path / "both.safetensors")
    words = {**artifact.beside.words, "<other>": artifact.beside.words[WORD]}
    save(replace(artifact, beside=replace(artifact.beside, words=words)), tmp_path / "two.safetensors", to="kohya-lora")
    with pytest.raises(TriptychError, match="bundles several words"):
        convert(ConversionRequest(tmp_path / "two.safetensors", "diffusers-embedding", tmp_path / "w.safetensors"))


# --- Custom Diffusion -------------------------------------------------------------------------------------------------


def test_custom_diffusion_moves_keys_and_values_of_cross_attention_alone(base: Base) -> None:
    tensors = fit(base, [trial("custom-diffusion")])[0].tensors
    layers = {name.removesuffix(".diff") for name in tensors if name != "emb_params"}
    expected = {path for path, _ in base.denoiser.module.named_modules() if path.endswith(("attn2.to_k", "attn2.to_v"))}
    assert layers == {f"unet.{path}" for path in expected}
    assert all(bool(tensor.any()) for tensor in tensors.values())


@pytest.mark.slow
def test_diffusers_loads_custom_diffusion(random_base: Path, tmp_path: Path) -> None:
    place = Place(str(random_base / "base"), precision="fp32")
    base, path, whole = place.open(), tmp_path / "cd.safetensors", tmp_path / "whole.bin"
    written(base, trial("custom-diffusion"), path)
    with pytest.raises(TriptychError, match="whole weights"):
        convert(ConversionRequest(path, "diffusers-custom-diffusion", whole))
    convert(ConversionRequest(path, "diffusers-custom-diffusion", whole, place))
    found = inspect(whole)
    assert (found.format, found.details["algorithm"]) == ("diffusers-custom-diffusion", "Custom Diffusion")
    noisy, t = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([300])
    context = base.encode(["a dog"])
    with torch.no_grad():
        plain = base.denoise(noisy, t, context)
        with open_artifact(path).apply(base):
            ours = base.denoise(noisy, t, context)
        # diffusers 0.42 does nothing in silence unless it is told the pipeline
        base.denoiser.module.load_attn_procs(tmp_path, weight_name=whole.name, _pipeline=pipeline(base))
        theirs = base.denoise(noisy, t, context)
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert not torch.allclose(ours, plain, atol=1e-4)
    with pytest.raises(TriptychError, match="holds whole weights"):
        open_artifact(whole)


def test_what_is_not_custom_diffusion_is_refused(base: Base, random_base: Path, tmp_path: Path) -> None:
    save(learned(base, trial("lora")), tmp_path / "lora.safetensors")
    request = ConversionRequest(
        tmp_path / "lora.safetensors",
        "diffusers-custom-diffusion",
        tmp_path / "x.bin",
        Place(str(random_base / "base")),
    )
    with pytest.raises(TriptychError, match="full changes of keys and values"):
        convert(request)


# --- SVDiff and layer norms -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_svdiff_shifts_singular_values(base: Base) -> None:
    """By the singular values of the changed weight: those of W with the shifts, the negative ones cut to 0."""
    tensors = fit(base, [trial("svdiff")])[0].tensors
    path = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    layer = base.denoiser.module.get_submodule(path)
    shift = tensors[f"unet.{path}.delta"] - 0.05 * torch.arange(8)  # the least values become negative
    settings = method_named("svdiff").configure({})
    x = torch.eye(12)
    with (
        torch.no_grad(),
        base.rows({None: range(12)}),
        method_named("svdiff").patch(base, settings, {f"unet.{path}.delta": shift}),
    ):
        changed = layer(x).T
    before = torch.linalg.svdvals(layer.weight.detach())
    assert torch.allclose(
        torch.linalg.svdvals(changed), (before + shift).clamp(min=0).sort(descending=True).values, atol=1e-5
    )


@pytest.mark.slow
def test_spectral_shifts_go_to_svdiff_pytorch_and_back(base: Base, tmp_path: Path) -> None:
    artifact, tensors = written(base, trial("svdiff"), tmp_path / "own.safetensors", "triptych")
    convert(ConversionRequest(tmp_path / "own.safetensors", "svdiff", tmp_path / "shifts.safetensors"))
    assert all(not name.startswith("unet.") for name in load_file(tmp_path / "shifts.safetensors"))
    back = open_artifact(tmp_path / "shifts.safetensors")
    assert gap(back.tensors, tensors) == 0
    assert inspect(tmp_path / "shifts.safetensors").details["algorithm"] == "SVDiff"
    with artifact.apply(base):
        one = look(base)
    with back.apply(base):
        assert torch.equal(look(base), one)


def test_layernorm_moves_layer_norms_alone(base: Base) -> None:
    tensors = fit(base, [trial("layernorm")])[0].tensors
    norms = {name.removesuffix(".w_norm") for name in tensors if name.endswith(".w_norm")}
    kinds = {type(base.denoiser.module.get_submodule(path.removeprefix("unet."))) for path in norms}
    assert kinds == {torch.nn.LayerNorm}
    more = method_named("layernorm").start(base, trial("layernorm", group_norms=True).settings, 1)
    assert len(more) > len(tensors)


# --- P+ ---------------------------------------------------------------------------------------------------------------


def by_hand(base: Base, contexts: list[torch.Tensor], noisy: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """What the denoiser predicts if its layers of cross-attention read these contexts, one after the other."""
    layers = [layer for path, layer in base.denoiser.module.named_modules() if path.endswith(".attn2")]
    before = [layer.forward for layer in layers]
    for layer, forward, context in zip(layers, before, contexts, strict=True):
        layer.forward = partial(lambda forward, context, x, **_: forward(x, context), forward, context)
    try:
        return base.denoiser.module(noisy, t, contexts[0]).sample
    finally:
        for layer in layers:
            del layer.forward


def test_each_layer_reads_its_own_word(base: Base) -> None:
    one = trial("p-plus", vectors=2)
    tensors = fit(base, [one])[0].tensors
    noisy, t = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([300])
    inversion = method_named("textual-inversion")
    word = inversion.configure({"token": WORD, "vectors": 2})
    contexts = []
    for name, rows in tensors.items():
        with torch.no_grad(), inversion.patch(base, word, {name.rpartition(".")[2]: rows}):
            contexts.append(base.encode([SAY]).hidden)
    with torch.no_grad():
        expected = by_hand(base, contexts, noisy, t)
        with method_named("p-plus").patch(base, one.settings, tensors):
            seen = base.denoise(noisy, t, base.encode([SAY]))
            pair = base.denoise(noisy.repeat(2, 1, 1, 1), t.repeat(2), base.encode(["a dog", SAY]))
            plain = base.denoise(noisy, t, base.encode(["a dog"]))
    assert torch.allclose(seen, expected, atol=1e-6)
    assert torch.allclose(pair, torch.cat([plain, expected]), atol=1e-5), "rows without the word read as ever"
    assert len({tuple(context.flatten().tolist()) for context in contexts}) == len(contexts)


@pytest.mark.slow
def test_p_plus_under_gradient_checkpointing(base: Base) -> None:
    plain, checkpointed = (fit(base, [trial("p-plus", checkpointing=flag)])[0].tensors for flag in (False, True))
    assert gap(plain, checkpointed) < 1e-5


@pytest.mark.slow
def test_p_plus_beside_others_as_alone(base: Base) -> None:
    trials = [trial("p-plus", "ann"), trial("lora", "bob", 2), trial("p-plus", "cid", 3, lr=3e-2)]
    for one, together in zip(trials, fit(base, trials), strict=True):
        alone = fit(base, [replace(one, owner=None)])[0]
        assert gap(together.tensors, alone.tensors) < 2e-5


@pytest.mark.slow
def test_p_plus_reads_weighted_prompts_and_draws_with_guidance(base: Base) -> None:
    one = trial("p-plus")
    artifact = Artifact(one.method, one.settings, fit(base, [one])[0].tensors)
    asked = Weighted((("a ", 1.0), (WORD, 1.3), (" dog", 1.0)))
    plain = sample(base, [Request(asked, (1,), negative="blurred")])[0][0]
    with artifact.apply(base):
        own = sample(base, [Request(asked, (1,), negative="blurred")])[0][0]
        others = sample(base, [Request("a dog", (1,))])[0][0]
    assert own.tobytes() != plain.tobytes()
    assert others.tobytes() == sample(base, [Request("a dog", (1,))])[0][0].tobytes()


@pytest.mark.slow
def test_fine_tuning_moves_chosen_blocks_alone_and_its_file_is_a_difference_of_weights(
    base: Base, tmp_path: Path
) -> None:
    chosen = trial("fine-tune", blocks="up_blocks", text_lr=1e-3)
    tensors = fit(base, [chosen])[0].tensors
    assert {name.split(".")[0] for name in tensors} == {"unet", "text_encoder"}
    assert all("up_blocks" in name for name in tensors if name.startswith("unet."))
    assert all(tensor.any() for name, tensor in tensors.items() if name.endswith("to_q.weight"))
    save(Artifact.trained("fine-tune", chosen.settings, tensors, ORIGIN), tmp_path / "tuned.safetensors")
    again, plain = open_artifact(tmp_path / "tuned.safetensors"), look(base)
    assert (again.method, Before.of(tmp_path / "tuned.safetensors").method) == ("dreambooth", "fine-tune")
    with again.apply(base), torch.no_grad():
        moved = look(base)
    write_single_file(base, tmp_path / "whole.safetensors", Change(again.tensors))
    assert torch.equal(look(base), plain) and not torch.equal(moved, plain)
    for bad, says in [("no_such", "contains 'no_such'"), ("(", "not a regular expression")]:
        with pytest.raises(TriptychError, match=says):
            fit(base, [trial("fine-tune", blocks=bad)])
