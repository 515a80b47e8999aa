"""Stable Diffusion 2: OpenCLIP's text encoder of width 1024. It predicts noise at 512 pixels, velocity at 768."""

from . import Family, TextSide

FAMILY = Family(
    name="sd2",
    title="Stable Diffusion 2",
    denoiser="unet",
    texts=(
        TextSide(
            "text_encoder", 1024, "emb_params", "lora_te_", "cond_stage_model.model.", openclip=True, projection=1024
        ),
    ),
    context_width=1024,
    process="ddpm",
    prediction="",
    linear=True,
    prefix="model.diffusion_model.",
    architecture="stable-diffusion-v2-512",
    by_velocity="stable-diffusion-v2-768-v",
    architectures="stable-diffusion-v2",
    version="sd_v2",
    implementation="https://github.com/Stability-AI/stablediffusion",
    pipeline="StableDiffusionPipeline",
    pipeline_entries=(
        ("image_encoder", (None, None)),
        ("feature_extractor", (None, None)),
        ("safety_checker", (None, None)),
        ("requires_safety_checker", False),
    ),
    left_out="the last block of its text encoder, which no picture depends on, is left out",  # as diffusers does
)
