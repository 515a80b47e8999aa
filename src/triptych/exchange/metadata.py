"""What the header of a file says of its content: ModelSpec 1.0.1, and the `ss_` entries that kohya's trainer began.

Only what is known is written. No path of the user's is: the pictures are named by their digest.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

from ..families import families

if TYPE_CHECKING:
    from .artifact import Artifact

THUMBNAIL = 256  # pixels, the larger side


def metadata_of(artifact: Artifact, title: str, thumbnail: Path | None = None) -> dict[str, str]:
    """ModelSpec and `ss_` entries of an artifact, as far as its settings and provenance tell them.

    Raises:
        TriptychError: the thumbnail is not a picture.
    """
    told = artifact.provenance
    family, prediction = told.get("family", ""), told.get("prediction", "epsilon")
    spec = {
        "title": title,
        "resolution": f"{told['resolution']}x{told['resolution']}" if "resolution" in told else "",
        "trigger_phrase": told.get("says", ""),
        "date": told.get("date", ""),
        "thumbnail": _data_url(thumbnail) if thumbnail else "",
    }
    entries = {f"modelspec.{name}": value for name, value in spec.items() if value}
    suffix = "" if artifact.kind.moves_weights else artifact.method  # what moved the base's own weights is a base
    return architecture(family, prediction, suffix) | entries | _kohya(artifact, title, prediction)


def architecture(family: str, prediction: str, suffix: str = "") -> dict[str, str]:
    """ModelSpec's entries on what a file is of: a base of this family, or, with a suffix, something to attach to it."""
    by_velocity, known = prediction == "v_prediction", families().get(family)
    if known is None:
        name = f"triptych-{family}" if family else "unknown"
    else:
        name = known.by_velocity if by_velocity and known.by_velocity else known.architecture
    told = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{name}/{suffix}".rstrip("/"),
        "modelspec.implementation": known.implementation if known else "diffusers",
        "modelspec.prediction_type": "v" if by_velocity else "epsilon",
    }
    if known and known.process == "flow":  # ModelSpec has no word for what a flow predicts
        del told["modelspec.prediction_type"]
    return told


def _kohya(artifact: Artifact, title: str, prediction: str) -> dict[str, str]:
    """The entries by which other programs label a file and show how it was trained."""
    told, settings = artifact.provenance, artifact.settings
    family = told.get("family", "")
    version = _version(family, prediction)
    known = {
        "base_model_version": version,
        "v2": str(family == "sd2") if version else "",
        "sd_model_name": told.get("base", ""),
        "output_name": title,
        "seed": told.get("seed", ""),
        "num_train_images": told.get("pictures_count", ""),
        "resolution": f"({told['resolution']}, {told['resolution']})" if "resolution" in told else "",
        "mixed_precision": told.get("precision", ""),
        "training_comment": f"trigger: {told['says']}" if "says" in told else "",
    }
    trained = {
        "learning_rate": "lr", "steps": "steps", "max_train_steps": "steps", "batch_size_per_device": "batch",
        "total_batch_size": "batch", "lr_scheduler": "schedule", "lr_warmup_steps": "warmup", "max_grad_norm": "clip",
        "min_snr_gamma": "min_snr", "prior_loss_weight": "prior_weight",
    }  # fmt: skip
    if "seed" in told:  # settings of a file that was read say nothing of how it was trained
        known |= {name: str(getattr(settings, own)) for name, own in trained.items() if hasattr(settings, own)}
    return {f"ss_{name}": value for name, value in known.items() if value}


def _version(family: str, prediction: str) -> str:
    """kohya's name of the base that something was made for."""
    known = families().get(family)
    if known is None:
        return ""
    return f"{known.version}_v" if known.by_velocity and prediction == "v_prediction" else known.version


def _data_url(picture: Path) -> str:
    from ..data.pictures import read_picture

    image = read_picture(picture)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
