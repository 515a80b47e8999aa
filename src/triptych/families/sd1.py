"""Stable Diffusion 1: CLIP's text encoder of width 768. It predicts noise at 512 pixels (arXiv:2112.10752)."""

from . import Family, TextSide

FAMILY = Family(
    name="sd1",
    title="Stable Diffusion 1",
    denoiser="unet",
    texts=(
        TextSide(
            "text_encoder", 768, "emb_params", "lora_te_", "cond_stage_model.transformer.text_model.", projection=768
        ),
    ),
    context_width=768,
    process="ddpm",
    prediction="epsilon",
    prefix="model.diffusion_model.",
    architecture="stable-diffusion-v1",
    architectures="stable-diffusion-v1",
    version="sd_v1",
    implementation="https://github.com/CompVis/stable-diffusion",
    pipeline="StableDiffusionPipeline",
    pipeline_entries=(
        ("image_encoder", (None, None)),
        ("feature_extractor", (None, None)),
        ("safety_checker", (None, None)),
        ("requires_safety_checker", False),
    ),
)
