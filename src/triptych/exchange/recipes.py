"""The recipe of a trained file: an artifact without its tensors, as JSON in the metadata entry `triptych`."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import TriptychError

if TYPE_CHECKING:
    from ..patching.patch import Tensors
    from .artifact import Artifact

RECIPE = "triptych"  # the metadata entry, the same in every layout
OWN = "triptych"  # the name of triptych's own layout, with canonical tensor names
STRENGTH = "strength"  # the provenance entry of the strength that a study chose
TRAINED_BY = "trained_by"  # the provenance entry of a file that triptych did not train
CONCEPTS = "concepts"  # the provenance entry with the words of each concept, as JSON, where a file learned several
SCHEMA = 1


def recipe_of(artifact: Artifact, layout: str = OWN) -> str:
    """The recipe for a file in this layout.

    Training settings are left out for a file by another program, since they are not known.
    """
    from ..methods import Training

    settings = asdict(artifact.settings)
    if artifact.provenance.get(TRAINED_BY):
        training = {entry.name for entry in fields(Training)}
        settings = {name: value for name, value in settings.items() if name not in training}
    known = {"schema": SCHEMA, "layout": layout, "method": artifact.method, "settings": settings}
    return json.dumps({**known, **artifact.provenance})


def read_recipe(path: Path, recipe: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The method, its settings and the provenance that a file's recipe states, as they were written.

    Raises:
        TriptychError: the recipe cannot be read; the error names `path`.
    """
    try:
        known = json.loads(recipe)
        name, settings = known.pop("method"), known.pop("settings")
        known.pop("layout", None)
        if known.pop("schema") != SCHEMA:
            raise TriptychError(f"{path} was made by a newer triptych; update to attach it")
    except (json.JSONDecodeError, KeyError, AttributeError) as error:
        raise TriptychError(f"the recipe inside {path} cannot be read: {error}") from error
    return name, settings, known


def artifact_of(path: Path, recipe: str, tensors: Tensors) -> Artifact:
    """The artifact from a file's recipe and its tensors by canonical names. Errors name `path`.

    Raises:
        TriptychError: the recipe cannot be read.
    """
    from ..methods import method_named
    from .artifact import Artifact

    name, settings, known = read_recipe(path, recipe)
    return Artifact(name, method_named(name).configure(settings), tensors, known)
