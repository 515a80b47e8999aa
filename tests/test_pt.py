"""Files that other programs' checkers take: `.pt` archives, and the same bytes for the same content."""

from __future__ import annotations

import hashlib
import os
import pickletools
import re
import subprocess
import sys
import zipfile
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch

import triptych
from triptych.app.calling import parts_in
from triptych.errors import TriptychError
from triptych.exchange.artifact import Artifact
from triptych.exchange.formats import formats, open_artifact
from triptych.exchange.saving import save
from triptych.files.pt import write_pt
from triptych.files.streaming import write_safetensors
from triptych.files.tensorfile import TensorFile
from triptych.methods import method_named
from triptych.prompt.calls import Call

# The rule of the checker in A1111's web UI (modules/safe.py): these records and names, no others. Its later versions
# take two records more, `byteorder` and `.data/serialization_id`, which its earlier ones refuse.
RECORDS = re.compile(r"[^/]+/(data\.pkl|version|data/\d+)")
NAMES = {
    "collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_device_tensor_from_numpy", "torch FloatStorage", "torch HalfStorage", "torch IntStorage",
    "torch LongStorage", "torch DoubleStorage", "torch ByteStorage", "torch float32",
    "torch.nn.modules.container ParameterDict", "numpy.core.multiarray scalar", "numpy.core.multiarray _reconstruct",
    "numpy dtype", "numpy ndarray", "_codecs encode", "__builtin__ set",
}  # fmt: skip
KINDS = {
    "a1111-hypernetwork": ("hypernetwork", {"widths": "cross", "activation": "relu"}),
    "a1111-embedding": ("textual-inversion", {"vectors": 2, "token": "fox", "start_word": "cat"}),
    "a1111-aesthetic": ("aesthetic-gradients", {}),
}


def checked(path: Path) -> Any:
    """What the checker says nothing against, as torch's weights-only loader reads it."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        assert all(RECORDS.fullmatch(name) for name in names), names
        assert len({name.partition("/")[0] for name in names}) == 1
        assert [name for name in names if name.endswith("/data.pkl")] == names[:1]
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
        opcodes = [(opcode.name, argument) for opcode, argument, _ in pickletools.genops(archive.read(names[0]))]
    assert {argument for name, argument in opcodes if name == "GLOBAL"} <= NAMES
    assert not {name for name, _ in opcodes} & {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ"}
    assert opcodes[0] == ("PROTO", 2)
    return torch.load(path, weights_only=True)


def made(name: str) -> Artifact:
    kind, given = KINDS[name]
    method = method_named(kind)
    settings = method.configure(given)
    layers = {"0.weight": (24, 12), "0.bias": (24,), "2.weight": (12, 24), "2.bias": (12,)}
    net = {f"12.{letter}.linear.{layer}": shape for letter in "kv" for layer, shape in layers.items()}
    shapes = {"hypernetwork": net, "textual-inversion": {"emb_params": (2, 12)}}
    wanted = shapes.get(kind, {"mean_image_feature": (1, 12)})
    tensors = {key: torch.arange(prod(shape)).float().reshape(shape) for key, shape in wanted.items()}
    return Artifact(kind, settings, tensors, {"says": "fox", "seed": "3", "base": "tiny"})


@pytest.mark.parametrize("name", KINDS)
def test_the_web_ui_s_checker_takes_it(name: str, tmp_path: Path) -> None:
    artifact, path = made(name), tmp_path / "fox.pt"
    save(artifact, path, to=name)
    content = checked(path)
    read = open_artifact(path)
    assert read.tensors.keys() == artifact.tensors.keys()
    assert all(torch.equal(read.tensors[key], tensor) for key, tensor in artifact.tensors.items())
    if name == "a1111-embedding":
        assert content["string_to_param"]["*"].requires_grad
        assert torch.equal(content["string_to_param"]["*"].detach(), artifact.tensors["emb_params"])
    elif name == "a1111-hypernetwork":
        assert torch.equal(content[12][0]["linear.0.weight"], artifact.tensors["12.k.linear.0.weight"])
        assert content["activation_func"] == "relu"
    else:
        assert torch.equal(content, artifact.tensors["mean_image_feature"])


def test_every_format_that_ends_in_pt_is_checked() -> None:
    assert {name for name, one in formats().items() if one.writes and one.suffixes[0] == ".pt"} == KINDS.keys()


CONTENT = {
    "halves": torch.arange(5.0).half(), "turned": torch.arange(6.0).reshape(2, 3).T, "none": torch.zeros(0, 3),
    "one": torch.tensor(3), "bytes": torch.tensor([1, 2], dtype=torch.uint8),
    "a": [1, 2.5, None, True, ("b", -(2**40))],
    7: {"deep": {"er": torch.ones(1, dtype=torch.float64)}},
}  # fmt: skip


def test_tensors_and_plain_values_as_they_were(tmp_path: Path) -> None:
    write_pt(tmp_path / "x.pt", CONTENT)
    read = checked(tmp_path / "x.pt")
    assert read.keys() == CONTENT.keys()
    assert read["a"] == CONTENT["a"]
    for name in ("halves", "turned", "none", "one", "bytes"):
        assert torch.equal(read[name], CONTENT[name])
        assert read[name].dtype == CONTENT[name].dtype
    assert read[7]["deep"]["er"].tolist() == [1]
    with zipfile.ZipFile(tmp_path / "x.pt") as archive:
        starts = [entry.header_offset + 30 + len(entry.filename) + len(entry.extra) for entry in archive.infolist()]
    assert not any(start % 64 for start in starts)


def test_a_kind_that_the_web_ui_does_not_take_becomes_float32(tmp_path: Path) -> None:
    write_pt(tmp_path / "x.pt", {"a": torch.tensor([1.5, -3]).bfloat16()})
    read = checked(tmp_path / "x.pt")["a"]
    assert (read.dtype, read.tolist()) == (torch.float32, [1.5, -3])


def test_what_is_no_tensor_or_plain_value_is_not_written(tmp_path: Path) -> None:
    for other in ({"a": {1, 2}}, {"a": Path()}, {"a": torch.nn.Linear(1, 1)}, {"a": print}):
        with pytest.raises(TypeError, match=r"a \.pt file cannot hold"):
            write_pt(tmp_path / "x.pt", other)
    assert not list(tmp_path.iterdir())


PROCESS = """
import sys
from pathlib import Path
from tests.test_pt import KINDS, made
from triptych.exchange.saving import save
for name in KINDS:
    save(made(name), Path(sys.argv[1]) / name / "fox.pt", to=name)
    save(made(name), Path(sys.argv[1]) / name / "fox.safetensors")
"""


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    """This one, and one whose sets and tables of hashes lie otherwise."""
    place = Path(__file__).parents[1]
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": f"{place / 'src'}:{place}"}
    command = [sys.executable, "-c", PROCESS, str(tmp_path)]
    subprocess.run(command, check=True, cwd=place, env=environment, timeout=120)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 2 * len(KINDS)
    for name in KINDS:
        for suffix, to in ((".pt", name), (".safetensors", "triptych")):
            save(made(name), tmp_path / f"fox{suffix}", to=to, title="fox")
            assert (tmp_path / f"fox{suffix}").read_bytes() == (tmp_path / name / f"fox{suffix}").read_bytes()


def test_the_order_of_tensors_and_metadata_makes_no_difference(tmp_path: Path) -> None:
    tensors = {"b": torch.ones(2), "a": torch.zeros(3, dtype=torch.float16)}
    metadata = {"modelspec.title": "x", "ss_seed": "1", "author": "me"}
    write_safetensors(tmp_path / "1", tensors, metadata)
    write_safetensors(tmp_path / "2", dict(reversed(tensors.items())), dict(reversed(metadata.items())))
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    file = TensorFile.open(tmp_path / "1")
    digest = hashlib.sha256((tmp_path / "1").read_bytes()[file.data :]).hexdigest()
    assert file.metadata["sshs_model_hash"] == digest
    assert file.metadata.items() >= metadata.items()


def test_no_such_format(tmp_path: Path) -> None:
    with pytest.raises(TriptychError, match="there is no format 'a1111-embeding'; did you mean 'a1111-embedding'"):
        save(made("a1111-embedding"), tmp_path / "x.pt", to="a1111-embeding")


def test_a_load_reads_the_header_once_and_maps_the_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = list[Path]()
    real = Path.open

    def counted(self: Path, *given: Any, **named: Any) -> Any:
        opened.append(self)
        return real(self, *given, **named)

    for name in KINDS:
        for path, to in ((tmp_path / f"{name}.pt", name), (tmp_path / f"{name}.safetensors", "triptych")):
            save(made(name), path, to=to)
            monkeypatch.setattr(Path, "open", counted)
            opened.clear()
            assert triptych.load(path).method == KINDS[name][0]
            assert parts_in(path, Call("lora", name))[0].artifact.method == KINDS[name][0]
            assert opened == [path] * 4
            monkeypatch.undo()
