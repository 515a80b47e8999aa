"""triptych's own layout: safetensors with the method's tensors by their canonical names, and the whole recipe.

The metadata entry `triptych` is JSON: `schema`, `method`, `settings` and the provenance. Whether other programs read
such a file depends on the method: all of them read an embedding, which is one tensor, and diffusers reads a LoRA. The
embeddings that a LoRA bundles have A1111's names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import TriptychError
from ...patching.adapters import by_layer
from ..alphas import usual_rank
from ..recipes import OWN, RECIPE, artifact_of, recipe_of
from ..word_files import BUNDLED, bundled_tensors, bundled_words
from . import Format, Recognised

if TYPE_CHECKING:
    from ...base import Base
    from ...files.tensorfile import TensorFile
    from ..artifact import Artifact

SHOWN = ("rank", "alpha", "vectors", "layers", "activation", "steps", "lr", "identifier")  # settings in the details


class Own(Format):
    name = OWN
    kind = "any"
    title = "every method's tensors with its whole recipe"
    suffixes = (".safetensors",)
    readers = ("triptych", "diffusers (LoRA)")
    checked = ("diffusers",)
    words = True

    def recognise(self, file: TensorFile) -> Recognised | None:
        if RECIPE not in file.metadata:
            return None
        try:
            recipe = json.loads(file.metadata[RECIPE])
            method, settings = str(recipe["method"]), dict(recipe["settings"])
            if recipe.get("layout", self.name) != self.name:
                return None
        except (ValueError, KeyError, TypeError) as error:
            raise TriptychError(f"the recipe inside {file.path} cannot be read: {error!r}") from error
        details = {name: settings[name] for name in SHOWN if name in settings}
        if method == "lora":
            names = {name: layout for name, layout in file.layouts.items() if not name.startswith(BUNDLED)}
            details |= {"rank": usual_rank(by_layer(names)) or details["rank"]} if "rank" in details else {}
        bundled = sorted(bundled_words(file.layouts))
        if bundled:
            details["embeddings within"] = ", ".join(bundled)
        says = recipe.get("says")
        return Recognised(method, self.name, recipe.get("family"), details, (str(says),) if says else ())

    def read(self, file: TensorFile) -> Artifact:
        if RECIPE not in file.metadata:
            raise TriptychError(f"{file.path} was not made by triptych")
        tensors = file.tensors(name for name in file.layouts if not name.startswith(BUNDLED))
        return artifact_of(file.path, file.metadata[RECIPE], tensors)

    def write(
        self, artifact: Artifact, path: Path, base: Base | None = None, metadata: Mapping[str, str] | None = None
    ) -> str:
        from ...files.streaming import write_safetensors

        known = {
            **(metadata or {}),
            RECIPE: recipe_of(artifact),
            **artifact.kind.metadata(artifact.settings, artifact.tensors),
        }
        write_safetensors(path, {**artifact.tensors, **bundled_tensors(artifact.beside.words)}, known)
        return ""
