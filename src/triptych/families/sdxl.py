"""SDXL: two text encoders with concatenated states, and a pooled text state; 1024 pixels (arXiv:2307.01952)."""

from . import Family, TextSide

FAMILY = Family(
    name="sdxl",
    title="SDXL",
    denoiser="unet",
    texts=(
        TextSide(
            "text_encoder", 768, "clip_l", "lora_te1_", "conditioner.embedders.0.transformer.text_model.",
            penultimate=True, projection=768,
        ),
        TextSide(
            "text_encoder_2", 1280, "clip_g", "lora_te2_", "conditioner.embedders.1.model.",
            openclip=True, penultimate=True, projected=True, projection=1280,
        ),
    ),
    context_width=2048,
    process="ddpm",
    prediction="epsilon",
    pooled=True,
    linear=True,
    prefix="model.diffusion_model.",
    original_lora=True,
    architecture="stable-diffusion-xl-v1-base",
    architectures="stable-diffusion-xl",
    version="sdxl_base_v1-0",
    implementation="https://github.com/Stability-AI/generative-models",
    pipeline="StableDiffusionXLPipeline",
    pipeline_entries=(
        ("image_encoder", (None, None)), ("feature_extractor", (None, None)), ("force_zeros_for_empty_prompt", True),
    ),
)  # fmt: skip
