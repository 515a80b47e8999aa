"""The `.pt` file of a hypernetwork for A1111's web UI: a pickled dictionary.

Each width of context (an integer key) has a pair of state dictionaries, for keys and for values. Further entries are
`layer_structure`, `activation_func`, `is_layer_norm`, `activate_output`, dropout and details of the training. Tensors
are named `linear.N.weight`. N counts all members of the net, dropout included. The oldest files have `linear1` and
`linear2`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import TriptychError
from ...families import by_context_width
from . import Format, Recognised

if TYPE_CHECKING:
    from torch import Tensor

    from ...base import Base
    from ...files.tensorfile import TensorFile
    from ..artifact import Artifact

TENSOR = re.compile(r"(\d+)\.([01])\.(linear[12]?\.(?:\d+\.)?(?:weight|bias))")
OLD = {"linear1.": "linear.0.", "linear2.": "linear.1."}
STATED = ("name", "step", "sd_checkpoint", "sd_checkpoint_name", "weight_initialization", "optional_info")
COMFY = ("linear", "relu", "leakyrelu", "elu", "swish", "tanh", "sigmoid", "softsign", "mish")


class A1111Hypernetwork(Format):
    name = "a1111-hypernetwork"
    kind = "hypernetwork"
    title = "the web UI's dictionary of nets by width"
    suffixes = (".pt",)
    readers = ("A1111", "ComfyUI")
    loses = "how it was trained"

    def recognise(self, file: TensorFile) -> Recognised | None:
        widths = _widths(file)
        if not widths:
            return None
        structure, dropout = _structure(file), _dropout(file)
        details: dict[str, str | int | float] = {
            "widths": ", ".join(map(str, widths)),
            "structure": ", ".join(f"{multiple:g}" for multiple in structure),
            "activation": _activation(file),
            "layer norm": "yes" if file.values.get("is_layer_norm") else "no",
            "activated output": "yes" if _activates_output(file) else "no",
            "dropout": ", ".join(f"{share:g}" for share in dropout) if any(dropout) else "no",
        }
        shown = ("name", "step", "sd_checkpoint", "sd_checkpoint_name")
        details |= {name: file.values[name] for name in shown if file.values.get(name)}
        return Recognised(self.kind, self.name, _family(widths), details)

    def read(self, file: TensorFile) -> Artifact:
        from ...methods import method_named
        from ...methods.hypernetwork import members, tensor_names
        from ..artifact import Artifact

        widths = _widths(file)
        try:
            settings = method_named(self.kind).configure({
                "widths": ",".join(map(str, widths)), "layers": ",".join(map(repr, _structure(file))),
                "activation": _activation(file), "layer_norm": bool(file.values.get("is_layer_norm")),
                "activate_output": _activates_output(file),
            })  # fmt: skip
            settings.structure  # noqa: B018  # raises if the structure is invalid
        except TriptychError as error:
            raise TriptychError(f"{file.path} cannot be used: {error}") from error
        given = {_present(name): name for name in file.layouts}
        wanted: dict[str, str] = {}  # canonical name -> the file's name
        for width in widths:
            ours = members(width, settings)
            theirs = [member for member in members(width, settings, _dropout(file)) if member.kind != "dropout"]
            for net, letter in ((f"{width}.0", "k"), (f"{width}.1", "v")):
                for own, other in zip(ours, theirs, strict=True):
                    names = zip(tensor_names(f"{width}.{letter}", own), tensor_names(net, other), strict=True)
                    for (canonical, name), shape in zip(names, own.shapes.values(), strict=True):
                        _check(file, given, name, tuple(shape))
                        wanted[canonical] = given[name]
        strange = sorted(file.layouts.keys() - set(wanted.values()))
        if strange:
            raise TriptychError(f"{file.path} has a tensor {strange[0]}, for which its structure has no place")
        tensors = file.tensors(wanted.values())
        return Artifact(
            self.kind, settings, {name: tensors[theirs] for name, theirs in wanted.items()}, _provenance(file, widths)
        )

    def write(
        self, artifact: Artifact, path: Path, base: Base | None = None, metadata: Mapping[str, str] | None = None
    ) -> str:
        from ...files.pt import write_pt

        write_pt(path, _dictionary(artifact, path.stem))
        return _comfy(artifact.settings)


def _widths(file: TensorFile) -> list[int]:
    """The widths of context that the file has nets for."""
    if file.container != "pickle":
        return []
    return sorted({int(match[1]) for name in file.layouts if (match := TENSOR.fullmatch(name))})


def _family(widths: Sequence[int]) -> str | None:
    """The family by the width of context; None where the nets fit several families."""
    found = {family.name for family in map(by_context_width, widths) if family}
    return found.pop() if len(found) == 1 else None


def _structure(file: TensorFile) -> list[float]:
    return _numbers(file, "layer_structure") or [1, 2, 1]


def _numbers(file: TensorFile, name: str) -> list[float] | None:
    given = file.values.get(name)
    try:
        return None if given is None else [float(number) for number in given]
    except (TypeError, ValueError):
        raise TriptychError(f"{file.path} is damaged: its {name} is {given!r}, not numbers") from None


def _activation(file: TensorFile) -> str:
    return str(file.values.get("activation_func") or "linear")


def _activates_output(file: TensorFile) -> bool:
    """Whether the last layer is activated. Files from before this key existed always activate it."""
    return bool(file.values.get("activate_output", True))


def _dropout(file: TensorFile) -> list[float]:
    """The dropout rate after each width. Files from before the list existed have 0.3 between the layers."""
    given, structure = _numbers(file, "dropout_structure"), _structure(file)
    if given is not None:
        return given
    if not file.values.get("use_dropout"):
        return [0.0] * len(structure)
    return [0.0, *[0.3] * (len(structure) - 3), 0.3 if file.values.get("last_layer_dropout") else 0.0, 0.0]


def _present(name: str) -> str:
    """A tensor's name in the current form."""
    for old, new in OLD.items():
        name = name.replace(old, new)
    return name


def _check(file: TensorFile, given: Mapping[str, str], name: str, shape: tuple[int, ...]) -> None:
    if name not in given:
        raise TriptychError(f"{file.path} lacks the tensor {name}, which its structure asks for")
    found = file.layouts[given[name]].shape
    if found != shape:
        raise TriptychError(
            f"{file.path} is damaged: its tensor {given[name]} is {found}, its structure asks for {shape}"
        )


def _provenance(file: TensorFile, widths: Sequence[int]) -> dict[str, str]:
    stated = {name: str(file.values[name]) for name in STATED if file.values.get(name) is not None}
    family = _family(widths)
    return stated | ({"family": family} if family else {})


def _dictionary(artifact: Artifact, name: str) -> dict[int | str, Any]:
    """The dictionary of the file. It has every key of the web UI, since readers differ on a missing key."""
    settings, origin = artifact.settings, artifact.provenance
    structure = [int(multiple) if multiple == int(multiple) else multiple for multiple in settings.structure]
    nets: dict[int, tuple[dict[str, Tensor], dict[str, Tensor]]] = {}
    for canonical, tensor in artifact.tensors.items():
        width, letter, rest = canonical.split(".", 2)
        pair = nets.setdefault(int(width), ({}, {}))
        pair["kv".index(letter)][rest] = tensor.detach()
    step = origin.get("step") or (str(settings.steps) if "seed" in origin else "0")
    return {
        **{width: (_in_order(k), _in_order(v)) for width, (k, v) in sorted(nets.items())},
        "step": int(step) if step.isdecimal() else 0,
        "name": origin.get("name", name),
        "layer_structure": structure,
        "activation_func": settings.activation,
        "is_layer_norm": settings.layer_norm,
        "weight_initialization": origin.get("weight_initialization", "Normal"),
        "sd_checkpoint": origin.get("sd_checkpoint"),
        "sd_checkpoint_name": origin.get("sd_checkpoint_name") or origin.get("base"),
        "activate_output": settings.activate_output,
        "use_dropout": False,
        "dropout_structure": [0.0] * len(structure),
        "last_layer_dropout": False,
        "optional_info": origin.get("optional_info", ""),
    }


def _in_order(net: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Sort by the position in the net, weight before bias. ComfyUI reads tensors in their order."""
    return dict(sorted(net.items(), key=lambda item: (int(item[0].split(".")[1]), item[0].endswith("bias"))))


def _comfy(settings: Any) -> str:
    """A note where ComfyUI's reader differs from the web UI's."""
    if settings.activation not in COMFY:
        return f"ComfyUI cannot read it: it does not know the activation {settings.activation!r}"
    if settings.layer_norm and settings.activation != "linear" and not settings.activate_output:
        return "ComfyUI draws otherwise with it: where there is a LayerNorm it activates the last layer in any case"
    return ""
