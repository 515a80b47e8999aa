"""A rectified flow with a transformer as its denoiser and a language model as its text encoder: the proof of the seams.

Nothing in methods, training, sampling and files knows of it: all that differs is told by `base/` and `families/`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests import test_laws as laws
from tests.worlds import SAY, examples, learned, look, settings, trial
from triptych.base import Base, generator, open_base, tiny_base
from triptych.errors import TriptychError
from triptych.exchange.artifact import Artifact, Part, compose
from triptych.exchange.conversion import ConversionRequest, convert
from triptych.exchange.export import Change, write_diffusers_folder, write_single_file
from triptych.exchange.formats import open_artifact, recognise
from triptych.exchange.saving import save
from triptych.files.tensorfile import TensorFile
from triptych.methods import methods
from triptych.sampling.generate import sample, settings_for
from triptych.sampling.request import Request
from triptych.sampling.samplers import SAMPLERS
from triptych.training.fit import Trial, fit

FIT = ["dreambooth", "dreambooth-lora", "fine-tune", "lora", "pivotal", "textual-inversion"]
REFUSED = ["aesthetic-gradients", "custom-diffusion", "hypernetwork", "layernorm", "p-plus", "svdiff"]


@pytest.fixture
def flow() -> Base:
    return tiny_base(kind="zimage")


# --- the laws ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", FIT)
def test_the_laws_of_one_method(flow: Base, name: str, tmp_path: Path) -> None:
    laws.test_leaving_restores_the_base_bit_for_bit(flow, name)
    laws.test_strength_0_is_the_base_and_1_the_artifact(flow, name)
    laws.test_fit_moves_finite_tensors(flow, name)
    laws.test_learning_rate_0_learns_nothing(flow, name)
    laws.test_saved_and_opened_is_the_same(flow, name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("names", [["dreambooth"], ["lora", "textual-inversion"]], ids="+".join)
def test_killed_and_resumed_equals_uninterrupted(flow: Base, names: list[str], tmp_path: Path) -> None:
    laws.test_killed_and_resumed_equals_uninterrupted(flow, names, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "pair", [("dreambooth", "lora"), ("dreambooth", "textual-inversion"), ("lora", "textual-inversion")]
)
def test_different_methods_compose_in_any_order(flow: Base, pair: tuple[str, str]) -> None:
    laws.test_different_methods_compose_in_any_order(flow, *pair)


@pytest.mark.slow
def test_jointly_as_alone(flow: Base) -> None:
    trials = [
        trial("textual-inversion", "ann", 1),
        trial("lora", "bob", 2, steps=4),
        trial("lora", "cid", 3, 2),
        trial("textual-inversion", "dee", 4, 3, lr=3e-2),
    ]
    laws.check_joint(flow, trials, 5e-5)


@pytest.mark.slow
def test_drawn_together_as_alone(flow: Base) -> None:
    artifacts = {name: learned(flow, trial(name)) for name in ("lora", "textual-inversion")}
    requests = [Request(SAY, (i,), owner) for i, owner in enumerate([*artifacts, "bare"])]
    with compose(flow, *(Part(artifact, owner=owner) for owner, artifact in artifacts.items())):
        together = sample(flow, requests)
    for request, (picture,) in zip(requests, together, strict=True):
        with compose(flow, *(Part(one) for owner, one in artifacts.items() if owner == request.owner)):
            ((alone,),) = sample(flow, [Request(request.prompt, request.seeds)])
        assert np.abs(np.asarray(picture, int) - np.asarray(alone, int)).max() <= 1


# --- what has no meaning there ----------------------------------------------------------------------------------------


def test_every_method_is_one_or_the_other() -> None:
    assert sorted([*FIT, *REFUSED]) == sorted(methods())


@pytest.mark.parametrize("name", REFUSED)
def test_a_method_without_meaning_there_is_refused(flow: Base, name: str) -> None:
    without_cross_attention = "has none: text and picture"
    why = {
        "hypernetwork": without_cross_attention, "custom-diffusion": without_cross_attention,
        "p-plus": without_cross_attention, "aesthetic-gradients": "is a language model",
        "layernorm": "has no layer norms with weights", "svdiff": "their rows have no owner",
    }[name]  # fmt: skip
    with pytest.raises(TriptychError, match=why):
        fit(flow, [Trial(name, settings(name), examples(2), "dog")])
    made = learned(tiny_base(), trial("hypernetwork")) if name == "hypernetwork" else Artifact(name, settings(name), {})
    with laws.unchanged(flow), pytest.raises(TriptychError, match=f"{name} has no meaning on the base tiny: "):
        made.apply(flow)


@pytest.mark.slow
@pytest.mark.parametrize("name", FIT)
def test_what_was_made_for_another_architecture_is_refused(flow: Base, name: str) -> None:
    other = tiny_base()
    for made, base in ((learned(other, trial(name)), flow), (learned(flow, trial(name)), other)):
        with laws.unchanged(base), pytest.raises(TriptychError, match="another kind of base"), made.apply(base):
            pass


# --- what it reads and predicts ---------------------------------------------------------------------------------------


def pipeline(base: Base) -> object:
    from diffusers import ZImagePipeline

    text = base.texts[0]
    return ZImagePipeline(base.process.schedule, base.vae, text.encoder, text.tokenizer, base.denoiser.module)


def test_prompts_are_read_as_diffusers_reads_them(flow: Base) -> None:
    tokenizer = flow.texts[0].tokenizer
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    prompts = ["a red dog", "sun"]
    with torch.no_grad():
        ours = flow.encode(prompts).unmasked()
        theirs, _ = pipeline(flow).encode_prompt(prompts, device="cpu", do_classifier_free_guidance=False)  # type: ignore[attr-defined]
    for own, other in zip(ours, theirs, strict=True):
        assert torch.allclose(own, other, atol=1e-5)


@torch.no_grad()
def test_pictures_are_those_of_diffusers_pipeline(flow: Base) -> None:
    """Euler's method over the whole way, guidance, shift and autoencoder."""
    drawing = settings_for(flow, sampler="euler", steps=4, guidance=3.0)
    ((ours,),) = sample(flow, [Request("a red dog", (7,), negative="sun")], drawing)
    noise = torch.randn(1, *flow.latent_shape, generator=generator("draw", 7))
    theirs = pipeline(flow)(  # type: ignore[operator]
        prompt_embeds=flow.encode(["a red dog"]).unmasked(), negative_prompt_embeds=flow.encode(["sun"]).unmasked(),
        latents=noise, num_inference_steps=4, sigmas=np.linspace(1, 1 / 4, 4).tolist(), guidance_scale=2.0,
        height=16, width=16,
    ).images[0]  # fmt: skip  # its guidance is counted from 0
    assert np.abs(np.asarray(ours, int) - np.asarray(theirs, int)).max() <= 2


FLOW_SAMPLERS = ["euler", "heun", "dpm++", "dpm++-2m-sde", "dpm++-3m-sde", "unipc"]


@pytest.mark.parametrize("sampler", FLOW_SAMPLERS)
def test_samplers(flow: Base, sampler: str) -> None:
    one, again = (sample(flow, [Request("a dog", (1,))], settings_for(flow, sampler=sampler))[0][0] for _ in range(2))
    assert one.tobytes() == again.tobytes()


@pytest.mark.parametrize("sampler", sorted(set(SAMPLERS) - set(FLOW_SAMPLERS)))
def test_other_samplers_are_refused(flow: Base, sampler: str) -> None:
    with pytest.raises(TriptychError, match="does not sample a rectified flow: take euler"):
        sample(flow, [Request("a dog", (1,))], settings_for(flow, sampler=sampler))


def test_prompts_of_different_lengths(flow: Base) -> None:
    noisy = torch.randn(1, *flow.latent_shape).expand(2, -1, -1, -1)
    times = torch.full((2,), 400.0)
    prompts = ["a dog", "a large red dog"]
    with torch.no_grad():
        together = flow.denoise(noisy, times, flow.encode(prompts))
        alone = torch.cat([flow.denoise(noisy[:1], times[:1], flow.encode([prompt])) for prompt in prompts])
    assert torch.allclose(together, alone, atol=1e-5)
    assert not torch.allclose(alone[0], alone[1], atol=1e-4)


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["kohya-lora", "diffusers-lora"])
def test_a_lora_in_other_layouts(flow: Base, layout: str, tmp_path: Path) -> None:
    artifact = learned(flow, trial("lora", targets="attention+mlp"))
    artifact = Artifact(artifact.method, artifact.settings, artifact.tensors, {"family": "zimage"})
    save(artifact, tmp_path / "own.safetensors")
    convert(ConversionRequest(tmp_path / "own.safetensors", layout, tmp_path / "other.safetensors"))
    file = TensorFile.open(tmp_path / "other.safetensors")
    assert (recognise(file).kind, recognise(file).family) == ("lora", "zimage")
    assert all(name.startswith(("lora_unet_", "transformer.")) for name in file.layouts)
    with artifact.apply(flow):
        one = look(flow)
    with open_artifact(tmp_path / "other.safetensors").apply(flow):
        assert torch.allclose(look(flow), one, atol=1e-6)


def test_a_word_in_another_layout(flow: Base, tmp_path: Path) -> None:
    save(learned(flow, trial("textual-inversion")), tmp_path / "own.safetensors")
    convert(ConversionRequest(tmp_path / "own.safetensors", "kohya-embedding", tmp_path / "dog.safetensors"))
    assert list(TensorFile.open(tmp_path / "dog.safetensors").layouts) == ["qwen3_4b"]
    assert recognise(TensorFile.open(tmp_path / "dog.safetensors")).family == "zimage"
    read = open_artifact(tmp_path / "dog.safetensors")
    with open_artifact(tmp_path / "own.safetensors").apply(flow):
        one = look(flow)
    with read.apply(flow):
        assert torch.equal(look(flow), one)
    with pytest.raises(TriptychError, match="this embedding is for Z-Image"):
        convert(ConversionRequest(tmp_path / "own.safetensors", "a1111-embedding", tmp_path / "dog.pt"))


def test_a_dreambooth_becomes_a_folder_that_diffusers_opens(flow: Base, tmp_path: Path) -> None:
    from diffusers import ZImagePipeline

    artifact = learned(flow, trial("dreambooth"))
    write_diffusers_folder(flow, tmp_path, Change(artifact.tensors), dtype=torch.float32)
    read = ZImagePipeline.from_pretrained(tmp_path)
    with artifact.apply(flow):
        for name, weight in flow.denoiser.module.state_dict().items():
            assert torch.allclose(read.transformer.state_dict()[name], weight, atol=1e-6), name
    assert read.scheduler.config.shift == flow.process.schedule.config.shift
    with pytest.raises(TriptychError, match="Z-Image have no layout of one file"):
        write_single_file(flow, tmp_path / "one.safetensors")
    with pytest.raises(TriptychError, match="Z-Image base, which cannot be opened from files yet"):
        open_base(str(tmp_path))
