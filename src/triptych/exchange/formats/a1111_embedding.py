"""The `.pt` file of an embedding for A1111's web UI: a pickled dictionary with `string_to_param`.

The web UI uses the file's name as the word. The name inside is that of its training.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import TriptychError
from ...families import family_named
from ..word_files import ROWS, described, embedding_family, vectors_of, word_artifact
from . import Format, Recognised

if TYPE_CHECKING:
    from ...base import Base
    from ...files.tensorfile import TensorFile
    from ..artifact import Artifact

PARAM, TOKEN = "string_to_param.", "string_to_token."
STATED = ("name", "step", "sd_checkpoint", "sd_checkpoint_name")
FIRST_TOKEN = 265  # CLIP's "*", the placeholder in the templates of the web UI's own files


class A1111Embedding(Format):
    name = "a1111-embedding"
    kind = "textual-inversion"
    title = "the web UI's dictionary with `string_to_param`"
    suffixes = (".pt",)
    readers = ("A1111", "Forge", "ComfyUI", "diffusers")
    loses = "the recipe; SDXL, which has vectors of two text encoders"

    def recognise(self, file: TensorFile) -> Recognised | None:
        name = _param(file)
        if name is None:
            return None
        layouts = {ROWS: file.layouts[name]}
        return Recognised(
            self.kind, self.name, embedding_family(layouts), described(layouts, file.values), (file.path.stem,)
        )

    def read(self, file: TensorFile) -> Artifact:
        name = str(_param(file))
        stated = {key: file.values.get(key) for key in STATED}
        return word_artifact(file.path, {ROWS: file.tensors([name])[name]}, file.path.stem, stated)

    def write(
        self, artifact: Artifact, path: Path, base: Base | None = None, metadata: Mapping[str, str] | None = None
    ) -> str:
        from ...files.pt import write_pt

        vectors = vectors_of(artifact, self.name)
        if ROWS not in vectors:
            title = family_named(embedding_family(vectors) or "sdxl").title
            raise TriptychError(f"{self.name} has one CLIP's vectors, and this embedding is for {title}: take kohya")
        origin = artifact.provenance
        step = str(origin.get("step", getattr(artifact.settings, "steps", 0)))
        content = {
            "string_to_token": {"*": FIRST_TOKEN},
            "string_to_param": {"*": vectors[ROWS].detach().float().clone().requires_grad_()},
            "name": path.stem, "step": int(step) if step.isdecimal() else 0,
            "sd_checkpoint": origin.get("sd_checkpoint"),
            "sd_checkpoint_name": origin.get("sd_checkpoint_name") or origin.get("base"),
        }  # fmt: skip
        write_pt(path, content)
        return f"it is called by its file's name: {path.stem}"


def _param(file: TensorFile) -> str | None:
    """The name of the word's tensor; None if there is not exactly one.

    Files by the paper's code also have a tensor with the token's number, which is skipped.
    """
    names = [name for name in file.layouts if not name.startswith(TOKEN)]
    return names[0] if len(names) == 1 and names[0].startswith(PARAM) and file.layouts[names[0]].shape else None
