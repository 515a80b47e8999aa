"""Checkpoints in the original layout, made from independent lists of names, opened as diffusers opens them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.originals import UNET, VAE, Shapes, real_shapes, small_checkpoint, small_configurations, small_shapes, values
from triptych.base.opening.parts import Parts
from triptych.base.opening.prediction import probed
from triptych.base.opening.single import open_single
from triptych.base.opening.tokenizer import clip_tokenizer
from triptych.errors import Remedy, TriptychError
from triptych.files.checkpoint import Contents, contents_of
from triptych.files.tensorfile import TensorFile

FAMILY = ("sd1", "sd2", "sdxl")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Small:
    family: str
    path: Path
    folder: Path  # of configurations
    tensors: dict[str, Tensor]

    def open(self, dtype: torch.dtype = torch.float32, path: Path | None = None, **how: Any) -> Parts:
        return open_single(path or self.path, dtype, CPU, **{"configurations": self.folder, "prediction": "v"} | how)

    def changed(self, path: Path, **more: Tensor) -> Path:
        save_file(self.tensors | more, path)
        return path


@pytest.fixture(scope="module", params=FAMILY)
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Small:
    return make(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def sd1(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return make("sd1", tmp_path_factory.mktemp("sd1"))


@pytest.fixture(scope="module")
def sd2(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return make("sd2", tmp_path_factory.mktemp("sd2"))


def make(family: str, place: Path) -> Small:
    path = place / "some.safetensors"
    return Small(family, path, small_configurations(place / "parts", family), small_checkpoint(path, family))


# --- as diffusers opens it ------------------------------------------------------------------------------------------


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.slow
@torch.no_grad()
def test_the_denoiser_is_that_of_diffusers(small: Small) -> None:
    from diffusers import UNet2DConditionModel

    theirs = UNet2DConditionModel.from_single_file(
        str(small.path), config=str(small.folder), subfolder="unet", torch_dtype=torch.float32
    )
    ours = small.open().unet
    assert same_weights(ours, theirs)
    random = torch.Generator().manual_seed(1)
    noisy, hidden = torch.randn(2, 4, 16, 16, generator=random), torch.randn(2, 7, ours.config.cross_attention_dim)
    pooled = {
        "text_embeds": torch.randn(2, 20, generator=random),
        "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]] * 2),
    }
    more = {"added_cond_kwargs": pooled} if small.family == "sdxl" else {}
    ours_out, theirs_out = (u(noisy, torch.tensor([3, 700]), hidden, **more).sample for u in (ours, theirs))
    assert ours_out.std() > 0.05
    assert torch.allclose(
        ours_out, theirs_out, atol=1e-5
    )  # not to the bit: where tensors lie decides how sums are split


@pytest.mark.slow
@torch.no_grad()
def test_the_autoencoder_is_that_of_diffusers(small: Small) -> None:
    from diffusers import AutoencoderKL

    theirs = AutoencoderKL.from_single_file(
        str(small.path), config=str(small.folder), subfolder="vae", torch_dtype=torch.float32
    )
    ours = small.open(torch.float16).vae
    assert ours.dtype is torch.float32  # since they overflow in float16
    assert same_weights(ours, theirs)
    assert ours.config.scaling_factor == (0.13025 if small.family == "sdxl" else 0.18215)


@pytest.mark.slow
@torch.no_grad()
def test_text_encoders_are_those_of_diffusers(small: Small) -> None:
    from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm, load_single_file_checkpoint

    checkpoint = load_single_file_checkpoint(str(small.path))
    ids = torch.tensor([[49406, 320, 2368, 49407, *[0] * 73], [49406, *range(1000, 1075), 49407]])
    for number, ours in enumerate(small.open().text_encoders):
        theirs = create_diffusers_clip_model_from_ldm(
            type(ours), checkpoint, subfolder=("text_encoder", "text_encoder_2")[number], config=str(small.folder),
            torch_dtype=torch.float32, local_files_only=True,
        )  # fmt: skip
        assert same_weights(ours, theirs)
        read, expected = (encoder(ids, output_hidden_states=True) for encoder in (ours, theirs))
        for key in read:
            if isinstance(read[key], Tensor):
                assert torch.allclose(read[key], expected[key], atol=1e-5), key


# --- memory ---------------------------------------------------------------------------------------------------------


def mapped(path: Path) -> Callable[[Tensor], bool]:
    """Whether a tensor lies in a mapping of the file, by what the kernel says of this process."""
    spans = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith(str(path)):
            spans.append([int(end, 16) for end in line.split()[0].split("-")])
    return lambda tensor: any(start <= tensor.data_ptr() < end for start, end in spans)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="asks Linux")
def test_nothing_is_copied_where_the_precision_is_the_files(small: Small) -> None:
    parts = small.open(torch.float16)
    inside = mapped(small.path)
    copied = [
        name
        for module in (parts.unet, *parts.text_encoders)
        for name, parameter in module.named_parameters()
        if not inside(parameter)
    ]
    assert copied == (["text_projection.weight"] if small.family == "sdxl" else [])  # the one that is transposed
    assert not any(inside(parameter) for parameter in parts.vae.parameters())


@pytest.mark.slow
def test_what_is_done_to_an_open_base_does_not_reach_the_file(sd1: Small) -> None:
    before, parts = sd1.path.read_bytes(), sd1.open(torch.float16)
    parts.unet.conv_in.weight.add_(1)
    assert sd1.path.read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_any_precision_in_the_file_and_asked(sd1: Small, tmp_path: Path, dtype: torch.dtype) -> None:
    stored = {key: tensor.to(dtype) if tensor.is_floating_point() else tensor for key, tensor in sd1.tensors.items()}
    save_file(stored, tmp_path / "it.safetensors")
    parts = sd1.open(torch.bfloat16, tmp_path / "it.safetensors")
    assert parts.unet.dtype is parts.vae.dtype is parts.text_encoders[0].dtype is torch.bfloat16
    assert torch.equal(parts.unet.conv_in.weight, stored[f"{UNET}input_blocks.0.0.weight"].to(torch.bfloat16))


# --- averaged weights, another autoencoder --------------------------------------------------------------------------


def averaged(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    own = {key: t for key, t in tensors.items() if key.startswith(UNET)}
    return {f"model_ema.{key.removeprefix('model.').replace('.', '')}": t + 1 for key, t in own.items()} | {
        "model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(1),
    }  # fmt: skip


@pytest.mark.slow
def test_averaged_weights_are_chosen_or_left(sd1: Small, tmp_path: Path) -> None:
    path = sd1.changed(tmp_path / "it.safetensors", **averaged(sd1.tensors))
    plain, chosen = (sd1.open(path=path, ema=ema).unet.state_dict() for ema in (False, True))
    for name in plain:
        assert torch.equal((plain[name].half() + 1).float(), chosen[name]), name
    left, taken = sd1.open(path=path).ignored, sd1.open(path=path, ema=True).ignored
    assert "model_ema.decay" in left and "model_ema.diffusion_modelout2bias" in left
    assert f"{UNET}out.2.bias" in taken and "model_ema.diffusion_modelout2bias" not in taken
    with pytest.raises(TriptychError, match="no averaged copy"):
        sd1.open(ema=True)


@pytest.mark.slow
def test_another_autoencoder_in_any_layout(sd1: Small, tmp_path: Path) -> None:
    from diffusers import AutoencoderKL

    other = {key: t * 3 for key, t in sd1.tensors.items() if key.startswith(VAE)}
    save_file(other, tmp_path / "prefixed.safetensors")
    bare = {key.removeprefix(VAE): t for key, t in other.items()} | {"loss.logvar": torch.zeros(1)}
    save_file(bare, tmp_path / "bare.safetensors")
    whole = AutoencoderKL.from_single_file(
        str(tmp_path / "bare.safetensors"), config=str(sd1.folder), subfolder="vae", torch_dtype=torch.float32
    )
    whole.save_pretrained(tmp_path / "theirs")
    written = load_file(tmp_path / "theirs" / "diffusion_pytorch_model.safetensors")
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for new, before in old.items():
        written = {key.replace(f".{new}.", f".{before}."): t for key, t in written.items()}
    save_file(written, tmp_path / "old.safetensors")
    for place in (
        "prefixed.safetensors",
        "bare.safetensors",
        "theirs/diffusion_pytorch_model.safetensors",
        "old.safetensors",
    ):
        assert same_weights(sd1.open(vae=tmp_path / place).vae, whole), place
    assert not same_weights(sd1.open().vae, whole)
    with pytest.raises(TriptychError, match="holds no autoencoder"):
        save_file({"emb_params": torch.zeros(1, 768)}, tmp_path / "word.safetensors")
        sd1.open(vae=tmp_path / "word.safetensors")


@pytest.mark.slow
def test_a_checkpoint_without_autoencoder_asks_for_one(sd1: Small, tmp_path: Path) -> None:
    save_file({key: t for key, t in sd1.tensors.items() if not key.startswith(VAE)}, tmp_path / "it.safetensors")
    with pytest.raises(TriptychError, match="without an autoencoder") as refused:
        sd1.open(path=tmp_path / "it.safetensors")
    assert refused.value.remedies == (Remedy.NAME_VAE,)
    assert same_weights(sd1.open(path=tmp_path / "it.safetensors", vae=sd1.path).vae, sd1.open().vae)


@pytest.mark.slow
def test_text_of_long_ago_and_of_pickles(sd1: Small, tmp_path: Path) -> None:
    """Files from before transformers' `text_model`, and names as a pickle's tensors get them."""
    old = {key.replace("transformer.text_model.", "transformer."): t for key, t in sd1.tensors.items()}
    save_file({f"state_dict.{key}": t for key, t in old.items()}, tmp_path / "it.safetensors")
    assert same_weights(sd1.open(path=tmp_path / "it.safetensors").text_encoders[0], sd1.open().text_encoders[0])


# --- damaged --------------------------------------------------------------------------------------------------------

KEY = f"{UNET}middle_block.1.proj_in.bias"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({KEY: None}, f"lacks {KEY}"),
        ({KEY: torch.zeros(33)}, rf"{KEY} is \(33,\), where \(32,\) is due"),
        ({f"{UNET}middle_block.3.weight": torch.zeros(1)}, f"has a tensor {UNET}middle_block.3.weight"),
        ({KEY: torch.full((32,), torch.nan)}, KEY),
    ],
    ids=["missing", "misshapen", "superfluous", "not finite"],
)
def test_what_is_wrong_is_named(sd1: Small, tmp_path: Path, change: dict[str, Tensor | None], said: str) -> None:
    tensors = {key: t for key, t in {**sd1.tensors, **change}.items() if t is not None}
    save_file(tensors, tmp_path / "it.safetensors")
    with pytest.raises(TriptychError, match=said):
        sd1.open(path=tmp_path / "it.safetensors")


# --- told apart, at the real sizes, by a header that has nothing behind it ------------------------------------------


def header_only(path: Path, shapes: Shapes, metadata: dict[str, str] | None = None, dtype: str = "F16") -> TensorFile:
    """A file whose tensors take no room on disk."""
    header: dict[str, Any] = {"__metadata__": metadata or {}}
    end = 0
    for key, shape in shapes.items():
        start, end = end, end + 2 * torch.Size(shape).numel()
        header[key] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return TensorFile.open(path)


def real(family: str, *parts: str) -> Shapes:
    shapes = real_shapes(family)
    return {key: shape for part in parts or shapes for key, shape in shapes[part].items()}


def told(path: Path, shapes: Shapes, metadata: dict[str, str] | None = None) -> Contents:
    found = contents_of(header_only(path, shapes, metadata))
    assert found is not None
    return found


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILY)
def test_families_are_told_by_the_header(family: str, tmp_path: Path) -> None:
    whole = told(tmp_path / "a.safetensors", real(family))
    assert (whole.kind, whole.family, whole.variant, whole.ema) == ("checkpoint", family, "", False)
    assert whole.prediction == (None if family == "sd2" else "epsilon")
    unet = told(tmp_path / "b.safetensors", real(family, "unet"))
    assert (unet.kind, unet.family) == ("denoiser", family)
    bare = told(tmp_path / "c.safetensors", {k.removeprefix(UNET): s for k, s in real(family, "unet").items()})
    assert (bare.kind, bare.family) == ("denoiser", family)
    assert told(tmp_path / "d.safetensors", real(family, "vae")).kind == "vae"


@pytest.mark.slow
@pytest.mark.parametrize(("channels", "variant"), [(8, "instruct-pix2pix"), (5, "depth")])
@pytest.mark.parametrize("family", FAMILY)
def test_variants_are_recognised_and_refused(family: str, channels: int, variant: str, tmp_path: Path) -> None:
    shapes = real(family) | {f"{UNET}input_blocks.0.0.weight": (320, channels, 3, 3)}
    assert told(tmp_path / "it.safetensors", shapes).variant == variant
    with pytest.raises(TriptychError, match=variant):
        open_single(tmp_path / "it.safetensors", torch.float16, CPU)


@pytest.mark.slow
def test_the_refiner_is_recognised_and_refused(tmp_path: Path) -> None:
    shapes = {
        key.replace("embedders.1", "embedders.0"): tuple(1280 if size == 2048 else size for size in shape)
        for key, shape in real("sdxl", "unet", "vae", "text_encoder_2").items()
    }
    assert told(tmp_path / "it.safetensors", shapes).variant == "refiner"
    with pytest.raises(TriptychError, match="refiner"):
        open_single(tmp_path / "it.safetensors", torch.float16, CPU)


def test_parts_alone_are_no_base(tmp_path: Path) -> None:
    for part, said in (("unet", "without its text encoder"), ("vae", "an autoencoder alone")):
        header_only(tmp_path / "it.safetensors", real("sd1", part))
        with pytest.raises(TriptychError, match=said):
            open_single(tmp_path / "it.safetensors", torch.float16, CPU)
    header_only(tmp_path / "it.safetensors", {"lora_unet_mid_block.lora_down.weight": (4, 320)})
    with pytest.raises(TriptychError, match="not a Stable Diffusion checkpoint"):
        open_single(tmp_path / "it.safetensors", torch.float16, CPU)


# --- noise or velocity ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_file_says_what_it_predicts(tmp_path: Path) -> None:
    path, shapes = tmp_path / "it.safetensors", real("sd2")
    for metadata, prediction in (
        ({"modelspec.prediction_type": "v"}, "v_prediction"),
        ({"modelspec.prediction_type": "epsilon", "modelspec.architecture": "stable-diffusion-v2-768-v"}, "epsilon"),
        ({"modelspec.architecture": "stable-diffusion-v2-768-v"}, "v_prediction"),
        ({"modelspec.architecture": "stable-diffusion-v2-512"}, "epsilon"),
        ({"ss_base_model_version": "sd_v2_v"}, "v_prediction"),
    ):
        assert told(path, shapes, metadata).prediction == prediction
    for text, prediction in (
        ('model:\n  params:\n    parameterization: "v"\n', "v_prediction"),
        ("model:\n  params:\n    linear_start: 0.00085\n", "epsilon"),
    ):
        path.with_suffix(".yaml").write_text(text)
        assert told(path, shapes).prediction == prediction
    path.with_suffix(".yaml").unlink()
    found = told(path, real("sdxl") | {"v_pred": (0,), "ztsnr": (0,)})
    assert (found.prediction, found.zero_snr) == ("v_prediction", True)
    assert told(path, real("sdxl") | {"edm_vpred.sigma_max": ()}).variant == "EDM"


@pytest.mark.slow
def test_the_user_is_believed_first(sd2: Small, tmp_path: Path) -> None:
    path = tmp_path / "it.safetensors"
    save_file(sd2.tensors, path, {"modelspec.prediction_type": "epsilon"})
    assert (
        (parts := sd2.open(path=path, prediction="v")).schedule.config.prediction_type
        == parts.prediction
        == "v_prediction"
    )
    assert (parts := sd2.open(path=path, prediction=None)).prediction == "epsilon" and "modelspec" in parts.told_by
    with pytest.raises(TriptychError, match="did you mean 'epsilon'"):
        sd2.open(prediction="epsylon")


@pytest.mark.slow
def test_a_trained_unet_is_asked() -> None:
    """The embedded base predicts velocity; the same, taught on top to give noise, gives back its input."""
    from diffusers import UNet2DConditionModel

    from triptych.base import EMBEDDED

    unet = UNet2DConditionModel.from_pretrained(EMBEDDED["demo"] / "unet", torch_dtype=torch.float32)
    assert probed(unet)[0] == "v_prediction"
    assert probed(Noisy(unet))[0] == "epsilon"  # type: ignore[arg-type]


class Noisy:
    """A UNet that predicts velocity, read as one that predicts noise: sqrt(a) v + sqrt(1 - a) x, arXiv:2202.00512."""

    def __init__(self, unet: Any) -> None:
        self.unet, self.config, self.device, self.dtype = unet, unet.config, unet.device, unet.dtype

    def __call__(self, noisy: Tensor, timestep: int, context: Tensor) -> Any:
        kept = 0.00466  # of the picture's power, at the last timestep
        read = self.unet(noisy, timestep, context)
        read.sample = kept**0.5 * read.sample + (1 - kept) ** 0.5 * noisy
        return read


@pytest.mark.slow
def test_a_file_that_does_not_say_is_asked(sd2: Small) -> None:
    parts = sd2.open(prediction=None)
    assert parts.prediction == "v_prediction" and "pure noise" in parts.told_by  # random weights give nothing back


@pytest.mark.slow
def test_zero_terminal_noise_is_told_to_the_schedule(sd2: Small, tmp_path: Path) -> None:
    path = sd2.changed(tmp_path / "it.safetensors", v_pred=torch.zeros(0), ztsnr=torch.zeros(0))
    assert float(sd2.open(path=path, prediction=None).schedule.alphas_cumprod[-1]) < 1e-6
    assert float(sd2.open().schedule.alphas_cumprod[-1]) == pytest.approx(0.00466, abs=1e-5)


# --- the vocabulary -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizers() -> Iterator[tuple[Any, Any]]:
    yield clip_tokenizer("<|endoftext|>"), clip_tokenizer("!")


@pytest.mark.parametrize(
    ("text", "ids"),
    [  # as OpenAI's CLIP and open_clip 3.3 give them
        ("a photo of a cat", [320, 1125, 539, 320, 2368]),
        ("Hello world!", [3306, 1002, 256]),
        ("Don't stop, it's the DOG'S 3rd!!", [847, 713, 1691, 267, 585, 568, 518, 1929, 568, 274, 1973, 748]),
        ("naïve café über straße", [1097, 35689, 563, 15304, 6522, 1516, 1894, 127, 253, 324]),
        ("日本語 猫", [39121, 44353, 34002, 508, 163, 234, 360]),
        ("🐱🚀 ok", [35710, 13542, 2481]),
        ("(masterpiece:1.2), [x]", [263, 12066, 281, 272, 269, 273, 2361, 314, 343, 316]),
        ("x  \t\n y", [343, 344]),
        ("™½Ⅷ", [11675, 33613, 158, 227, 371]),
    ],
)
def test_text_becomes_the_ids_of_clip(tokenizers: tuple[Any, Any], text: str, ids: list[int]) -> None:
    for tokenizer in tokenizers:
        assert tokenizer(text).input_ids == [49406, *ids, 49407]


def test_only_what_fills_up_differs(tokenizers: tuple[Any, Any]) -> None:
    by_end, by_mark = (tokenizer("a cat", padding="max_length", max_length=6).input_ids for tokenizer in tokenizers)
    assert by_end == [49406, 320, 2368, 49407, 49407, 49407]
    assert by_mark == [49406, 320, 2368, 49407, 0, 0]
    assert [len(tokenizer) for tokenizer in tokenizers] == [49408, 49408]


@pytest.mark.slow
def test_tokenizers_are_given_as_the_family_needs(small: Small) -> None:
    pads = [tokenizer.pad_token_id for tokenizer in small.open().tokenizers]
    assert pads == {"sd1": [49407], "sd2": [0], "sdxl": [49407, 0]}[small.family]


def test_small_checkpoints_have_all_real_names() -> None:
    """The tests' own checkpoints: every name of the lists, each shape of as many dimensions."""
    for family in FAMILY:
        small, whole = small_shapes(family), real(family)
        assert small.keys() == whole.keys()
        assert all(len(small[key]) == len(whole[key]) for key in whole)
        assert values({"a": (2, 3)})["a"].std() > 0
