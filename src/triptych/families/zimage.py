"""Z-Image: a transformer over text and picture alike, a language model as its text encoder, rectified flow."""

from . import Family, TextSide

FAMILY = Family(
    name="zimage",
    title="Z-Image",
    denoiser="transformer",
    texts=(TextSide("text_encoder", 2560, "qwen3_4b", "lora_te_", penultimate=True),),
    context_width=0,
    process="flow",
    prediction="flow_prediction",
    architecture="Z-Image",
    architectures="Z-Image",
    version="zimage",
    pipeline="ZImagePipeline",
)
