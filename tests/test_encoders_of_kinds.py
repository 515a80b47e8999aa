"""SigLIP, NearID and CSD from small random folders in their published layouts, against transformers' own networks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional as F

from tests.drawn import composed
from triptych.errors import TriptychError
from triptych.metrics.encoders import TextImageEncoder, open_encoder

VISION = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip


@pytest.fixture(scope="module")
def some() -> list[Image.Image]:
    return [composed((20, 60 * i, 200), 0.1, 0.8) for i in range(3)]


def letters(folder: Path) -> int:
    """Save a tokenizer whose words are letters; how many there are."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<eos>", "<unk>", *"abcdefghijklmnopqrstuvwxyz"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")
    fast.save_pretrained(folder)
    return len(words)


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import SiglipConfig, SiglipModel

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("siglip")
    text = {**VISION, "vocab_size": letters(folder), "max_position_embeddings": 12, "projection_size": 16}
    SiglipModel(SiglipConfig(text_config=text, vision_config=VISION)).save_pretrained(folder)
    return folder


def test_siglip_sees_and_reads_as_its_own_network(siglip: Path, some: list[Image.Image]) -> None:
    from transformers import AutoTokenizer, SiglipImageProcessorPil, SiglipModel

    encoder = open_encoder(str(siglip), "text")
    assert isinstance(encoder, TextImageEncoder)
    model, tokenizer = SiglipModel.from_pretrained(siglip).eval(), AutoTokenizer.from_pretrained(siglip)
    pixels = SiglipImageProcessorPil(size={"height": 32, "width": 32})(some, return_tensors="pt").pixel_values
    ids = tokenizer(["cat"], padding="max_length", max_length=12, return_tensors="pt").input_ids
    with torch.inference_mode():
        seen, read = (
            model.vision_model(pixel_values=pixels).pooler_output,
            model.text_model(input_ids=ids).pooler_output,
        )
    assert torch.allclose(encoder.images(some), F.normalize(seen, dim=-1), atol=1e-5)
    assert torch.allclose(
        encoder.texts(["Cat", "a longer text than it has room for"])[:1], F.normalize(read), atol=1e-5
    )
    assert open_encoder(str(siglip), "image").digest == encoder.digest, "opened again, it is the same"


def test_siglip_of_native_aspect_ratio_opens(tmp_path: Path, some: list[Image.Image]) -> None:
    from transformers import Siglip2Config, Siglip2Model

    text = {**VISION, "vocab_size": letters(tmp_path), "max_position_embeddings": 12, "projection_size": 16}
    vision = {**VISION, "num_patches": 16}
    Siglip2Model(Siglip2Config(text_config=text, vision_config=vision)).save_pretrained(tmp_path)
    encoder = open_encoder(str(tmp_path), "text")
    assert encoder.images(some).shape == (3, 16)
    assert encoder.texts(["a"]).shape == (1, 16)


def test_nearid_is_the_vision_model_below_its_own_name(siglip: Path, tmp_path: Path, some: list[Image.Image]) -> None:
    """As published: the tensors of a SigLIP vision model below `backbone.vision_model.`, in half precision."""
    from transformers import SiglipModel

    tensors = SiglipModel.from_pretrained(siglip).vision_model.state_dict()
    stored = {
        f"backbone.vision_model.{name.removeprefix('vision_model.')}": each.half() for name, each in tensors.items()
    }
    save_file(stored, tmp_path / "model.safetensors")
    config = {"model_type": "nearid", "vision_config": VISION, "auto_map": {"AutoModel": "modeling_nearid.NearIDModel"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "modeling_nearid.py").write_text("raise SystemExit('this code must not run')")
    encoder = open_encoder(str(tmp_path), "image")
    assert torch.allclose(encoder.images(some), open_encoder(str(siglip), "image").images(some), atol=2e-3)
    del stored["backbone.vision_model.head.probe"]
    save_file(stored, tmp_path / "model.safetensors")
    with pytest.raises(TriptychError, match=r"cannot load the encoder .* it has no tensor .*head\.probe"):
        open_encoder(str(tmp_path), "image")


class ClipsOwn(torch.nn.Module):
    """A CLIP image tower in CLIP's own layout, written from its paper's description for this test."""

    def __init__(self, width: int = 16, layers: int = 2, patch: int = 8, side: int = 32) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = torch.nn.Parameter(torch.randn(width))
        self.positional_embedding = torch.nn.Parameter(torch.randn((side // patch) ** 2 + 1, width))
        self.ln_pre, self.ln_post = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.transformer = torch.nn.Module()
        self.transformer.resblocks = torch.nn.ModuleList(Block(width) for _ in range(layers))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = self.conv1(pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(x), 1, -1)
        x = self.ln_pre(torch.cat([first, x], dim=1) + self.positional_embedding)
        for block in self.transformer.resblocks:
            x = block(x)
        return self.ln_post(x[:, 0])


class Block(torch.nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.attn = torch.nn.MultiheadAttention(width, 1, batch_first=True)
        self.mlp = torch.nn.Module()
        self.mlp.c_fc, self.mlp.c_proj = torch.nn.Linear(width, 2 * width), torch.nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, normed, need_weights=False)[0]
        inner = self.mlp.c_fc(self.ln_2(x))
        return x + self.mlp.c_proj(inner * torch.sigmoid(1.702 * inner))


@pytest.mark.parametrize("layout", ["checkpoint.pth", "folder of the hub"])
def test_csd_opens_in_both_published_layouts(layout: str, tmp_path: Path, some: list[Image.Image]) -> None:
    from transformers import CLIPImageProcessorPil

    torch.manual_seed(0)
    tower, head = ClipsOwn().eval(), torch.randn(16, 12)
    for each in tower.parameters():
        torch.nn.init.normal_(each, std=0.3)
    tensors = {f"backbone.{name}": each for name, each in tower.state_dict().items()}
    tensors |= {"last_layer_style": head, "last_layer_content": torch.randn(16, 12)}
    if layout == "checkpoint.pth":  # as trained on several devices
        path = tmp_path / layout
        torch.save({"model_state_dict": {f"module.{name}": each for name, each in tensors.items()}, "epoch": 3}, path)
    else:
        path = tmp_path
        save_file(tensors, path / "model.safetensors")
        (path / "config.json").write_text('{"name": "vit_large", "content_proj_head": "default"}')
    pixels = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=32)(some, return_tensors="pt").pixel_values
    with torch.inference_mode():
        wanted = F.normalize(tower(pixels) @ head, dim=-1)
    encoder = open_encoder(str(path), "image")
    assert torch.allclose(encoder.images(some), wanted, atol=1e-5)
    assert encoder.digest == open_encoder(str(path), "image").digest


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    save_file({"some.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(TriptychError, match="from the file: neither a configuration nor the names of its tensors"):
        open_encoder(str(tmp_path / "other.safetensors"), "image")
