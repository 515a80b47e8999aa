"""The metadata of a file: ModelSpec 1.0.1, and the `ss_` entries of kohya's trainer.

Only known values are written, and no path of the user: a digest stands for the pictures. Entries by another program are
kept when a file is converted, except those that depend on the layout or on the bytes.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..families import families
from .recipes import RECIPE, STRENGTH

if TYPE_CHECKING:
    from .artifact import Artifact

THUMBNAIL = 256  # pixels, the larger side
IMPLEMENTATION = "modelspec.implementation"
BOUND = {  # entries that depend on the layout or on the bytes, and are written anew
    "format", RECIPE, "lora_adapter_metadata", "modelspec.hash_sha256", "sshs_model_hash", "sshs_legacy_hash",
    "ss_network_module", "ss_network_dim", "ss_network_alpha", "ss_network_args",
    "modelspec.sai_model_spec", "modelspec.architecture", IMPLEMENTATION,
}  # fmt: skip


def metadata_of(artifact: Artifact, title: str, thumbnail: Path | None = None) -> dict[str, str]:
    """ModelSpec and `ss_` entries of an artifact, from its settings and provenance.

    Raises:
        TriptychError: the thumbnail is not a picture.
    """
    origin = artifact.provenance
    family, prediction = origin.get("family", ""), origin.get("prediction", "")
    spec = {
        "title": title,
        "resolution": f"{origin['resolution']}x{origin['resolution']}" if "resolution" in origin else "",
        "trigger_phrase": origin.get("says", ""),
        "date": origin.get("date", ""),
        "usage_hint": f"use it at strength {origin[STRENGTH]}" if STRENGTH in origin else "",
        "thumbnail": data_url(thumbnail) if thumbnail else "",
    }
    entries = {f"modelspec.{name}": value for name, value in spec.items() if value}
    suffix = "" if artifact.kind.moves_weights else artifact.method  # a change of the base's weights counts as a base
    return architecture(family, prediction, suffix) | entries | _kohya(artifact, title, prediction)


def kept(header: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
    """The entries `known` of a new file, with those of its source's header. The header has precedence.

    Its architecture is kept only where `known` has none.
    """
    unknown = known.get("modelspec.architecture", "").startswith("unknown")
    bound = BOUND - ({"modelspec.architecture"} if unknown else set())
    return {**known, **{name: text for name, text in header.items() if name not in bound}}


def lost(header: Mapping[str, str]) -> str:
    """A list of a header's entries that would be lost: "its author, license, 12 ss_ entries"; "" for none."""
    own = [name for name in sorted(header) if name not in BOUND]
    spec = [name.removeprefix("modelspec.") for name in own if name.startswith("modelspec.")]
    counted = sum(name.startswith("ss_") for name in own)
    rest = [name for name in own if not name.startswith(("modelspec.", "ss_"))]
    parts = [*spec, *([f"{counted} ss_ entries"] if counted else []), *rest]
    return f"its {', '.join(parts)}" if parts else ""


def stated_prediction(metadata: Mapping[str, str]) -> str:
    """The prediction type by a header: "epsilon", "v_prediction", or "" where it is not stated."""
    stated = metadata.get("modelspec.prediction_type", "").lower()
    named = metadata.get("modelspec.architecture", "").partition("/")[0]
    if stated.startswith("v") or named.endswith("-v") or metadata.get("ss_base_model_version", "").endswith("_v"):
        return "v_prediction"
    return "epsilon" if stated.startswith("eps") else ""


def architecture(family: str, prediction: str, suffix: str = "", *, original: bool = False) -> dict[str, str]:
    """ModelSpec's architecture entries of a base of this family, or, with a suffix, of an artifact for it.

    Args:
        prediction: the prediction type by diffusers' name; "" where it is not known.
        original: whether the file has the original layout of its family; else it has diffusers'.
    """
    by_velocity, known = prediction == "v_prediction", families().get(family)
    if known is None:
        name = f"triptych-{family}" if family else "unknown"
    else:
        name = known.by_velocity if by_velocity and known.by_velocity else known.architecture
    entries = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{name}/{suffix}".rstrip("/"),
        IMPLEMENTATION: implementation(family) if original else "diffusers",
    }
    if not prediction or (known and known.process == "flow"):  # ModelSpec has no word for what a flow predicts
        return entries
    return entries | {"modelspec.prediction_type": "v" if by_velocity else prediction}


def implementation(family: str) -> str:
    """ModelSpec's name of the code that reads the original layout of a family."""
    known = families().get(family)
    return known.implementation if known else families()["sdxl"].implementation


def _kohya(artifact: Artifact, title: str, prediction: str) -> dict[str, str]:
    """The `ss_` entries, by which other programs label a file and show its training."""
    origin, settings = artifact.provenance, artifact.settings
    family = origin.get("family", "")
    version = _version(family, prediction)
    known = {
        "base_model_version": version,
        "v2": str(family == "sd2") if version else "",
        "sd_model_name": origin.get("base", ""),
        "output_name": title,
        "seed": origin.get("seed", ""),
        "num_train_images": origin.get("pictures_count", ""),
        "resolution": f"({origin['resolution']}, {origin['resolution']})" if "resolution" in origin else "",
        "mixed_precision": origin.get("precision", ""),
        "training_comment": f"trigger: {origin['says']}" if "says" in origin else "",
    }
    trained = {
        "learning_rate": "lr", "steps": "steps", "max_train_steps": "steps", "batch_size_per_device": "batch",
        "total_batch_size": "batch", "lr_scheduler": "schedule", "lr_warmup_steps": "warmup", "max_grad_norm": "clip",
        "min_snr_gamma": "min_snr", "prior_loss_weight": "prior_weight",
    }  # fmt: skip
    if "seed" in origin:  # for a file by another program the settings are defaults, not those of its training
        known |= {name: str(getattr(settings, own)) for name, own in trained.items() if hasattr(settings, own)}
    return {f"ss_{name}": value for name, value in known.items() if value}


def _version(family: str, prediction: str) -> str:
    """kohya's name of a base by its family and prediction type."""
    known = families().get(family)
    if known is None:
        return ""
    return f"{known.version}_v" if known.by_velocity and prediction == "v_prediction" else known.version


def data_url(picture: Path) -> str:
    """A thumbnail of a picture as a data URL, for ModelSpec.

    Raises:
        TriptychError: the file is not a picture.
    """
    from ..data.pictures import read_picture

    image = read_picture(picture)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
