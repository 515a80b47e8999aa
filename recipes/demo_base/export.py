"""The finished folder: Stable Diffusion's layout for diffusers, the whole CLIP beside it, licences, facts, gallery."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from recipes.demo_base.compose import Composer
from recipes.demo_base.gallery import gallery
from recipes.demo_base.world import WORLD_FILE

MODELS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler", "clip")
MADE_HERE = (*MODELS, "model_index.json", "gallery.png", "ATTRIBUTION.md")
"""What an installed base takes from an export; whatever else its folder holds stays."""


def export(
    folder: Path,
    clip: CLIPModel,
    tokenizer: CLIPTokenizer,
    vae: AutoencoderKL,
    unet: UNet2DConditionModel,
    schedule: DDIMScheduler,
    composer: Composer,
) -> None:
    """Write the base to `folder` in half precision, in one move. The models are converted in place."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    clip = clip.to("cpu", torch.float16)
    StableDiffusionPipeline(
        vae=vae.to("cpu", torch.float16),
        text_encoder=clip.text_model,
        tokenizer=tokenizer,
        unet=unet.to("cpu", torch.float16),
        scheduler=schedule,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(partial)
    _forget_where(partial / "vae" / "config.json")
    clip.save_pretrained(partial / "clip")
    tokenizer.save_pretrained(partial / "clip")
    image_processor(composer.world.pixels).save_pretrained(partial / "clip")
    gallery(composer).save(partial / "gallery.png", optimize=True)
    (partial / "ATTRIBUTION.md").write_text(attribution(composer), encoding="utf-8")
    shutil.copy(WORLD_FILE, partial / "world.toml")
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)


def _forget_where(config: Path) -> None:
    """diffusers notes the folder that a module came from, which is a path of one machine."""
    values = json.loads(config.read_text(encoding="utf-8"))
    values.pop("_name_or_path", None)
    config.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def image_processor(pixels: int) -> CLIPImageProcessorPil:
    """Pictures to -1 to 1, as the image tower was trained."""
    side = {"height": pixels, "width": pixels}
    return CLIPImageProcessorPil(
        size={"shortest_edge": pixels}, crop_size=side, image_mean=[0.5] * 3, image_std=[0.5] * 3, do_convert_rgb=True
    )


def attribution(composer: Composer) -> str:
    """Whose drawings the base has seen, and under which licences."""
    lines = ["# The drawings that the demo base was trained on", ""]
    lines += ["| style | package | author | licence |", "| --- | --- | --- | --- |"]
    for word, style in composer.world.styles.items():
        lines.append(f"| {word} | {style.package} {style.version} | {style.author} | {style.licence} |")
    lines += [
        "| (autoencoder only) | @iconify-json/fluent-emoji-flat | Microsoft Corporation | MIT |",
        "| (autoencoder only) | @iconify-json/fxemoji | Mozilla | Apache-2.0 |",
        "| (autoencoder, CLIP) | @iconify-json/emojione | Emoji One | CC-BY-4.0 |",
        "",
        "The drawings were scaled and placed on plain backgrounds; `gallery.png` shows some of them so.",
        "The weights and everything else in this folder: Apache-2.0.",
    ]
    return "\n".join(lines) + "\n"


def install(export_folder: Path, base_folder: Path) -> None:
    """Put an export in an installed base's place, each part in one move, leaving files that are not the recipe's."""
    for name in MADE_HERE:
        fresh, target = base_folder / f".{name}.partial", base_folder / name
        source = export_folder / name
        shutil.copytree(source, fresh, dirs_exist_ok=True) if source.is_dir() else shutil.copy(source, fresh)
        if target.is_dir():
            old = base_folder / f".{name}.old"
            target.rename(old)
            fresh.rename(target)
            shutil.rmtree(old)
        else:
            fresh.replace(target)


def describe(folder: Path) -> str:
    """One line: what the folder holds, in millions of bytes."""
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    index = json.loads((folder / "model_index.json").read_text())
    return f"{folder}: {index['_class_name']}, {size / 1e6:.1f} MB"
