"""Pickles that ask for more than tensors: what would run is refused, the rest becomes inert stubs and is left out."""

from __future__ import annotations

import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.test_hostile_costs import FOUR, Told, nested, table, told_of
from tests.test_hostile_files import DATA, EXEC, PICKLES, archive, named, raw, text
from triptych.errors import TriptychError
from triptych.exchange.inspection import inspect
from triptych.files.tensorfile import TensorFile

# fmt: off
CALLED = {name: PICKLES[name][2:-1] for name in (
    "os.system", "eval", "exec", "__import__", "getattr", "subprocess", "runpy", "importlib", "torch.load", "torch.hub",
    "torch jit", "a dotted name", "functools", "webbrowser", "obj", "extension code", "code in a state",
)} | {
    "inst": b"(" + text("x") + b"ios\nsystem\n",
    "a function that nobody knows": named("mypackage.tools", "clean") + text("/") + b"\x85R",
    "a function without values": named("mypackage", "run") + b")R",
    "an object that is called": named("mypackage", "Task") + b")\x81" + text("x") + b"\x85R",
    "a call's result that is called": named("mypackage", "Task") + b")R)R",
    "a text that is called": text("os.system") + text("true") + b"\x85R",
    "Popen under another name": named("mypackage.tools", "Popen") + text("true") + b"\x85R",
    "a class of the standard library": named("multiprocessing.pool", "ThreadPool") + b")R",
    "a module of Python 2": named("commands", "getoutput") + text("true") + b"\x85R",
    "a name of Python 2": named("__builtin__", "execfile") + text("x") + b"\x85R",
    "a state that is set on a class": named("mypackage", "Model") + b"}b",
    "entries that are set on a class": named("mypackage", "Model") + text("a") + b"Ns",
    "a new object of what is no class": text("x") + b")\x81",
    "code as what a stub is given": named("mypackage", "Model") + EXEC + b"\x85\x81",
    "code as a stub's state": named("mypackage", "Model") + b")\x81" + EXEC + b"b",
    "code as a stub's key": named("mypackage", "Table") + b")R" + EXEC + b"Ns",
    "code as a dtype": named("numpy", "dtype") + EXEC + b"\x85R",
    "a builder by its attribute": named("torch._tensor", "_rebuild_from_type_v2") + b"(" + named("os", "system")
    + named("torch", "Tensor") + text("true") + b"\x85}tR",
}
# fmt: on
HARMFUL = {f"harmful: {name}": lambda body=body: archive(table(text("x"), body), DATA) for name, body in CALLED.items()}


def stub(name: str = "Model") -> bytes:
    """An object of a class of nobody knows whom."""
    return named("mypackage.models", name) + b")\x81"


def state(*pairs: bytes) -> bytes:
    return b"}(" + b"".join(pairs) + b"ub"


LIGHTNING = named("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")
SCALAR = (
    named("numpy.core.multiarray", "scalar")
    + named("numpy", "dtype") + text("f8") + b"\x89\x88\x87R(K\x03" + text("<") + b"NNN"
    + b"J\xff\xff\xff\xff" * 2 + b"K\x00tb" + named("_codecs", "encode")
    + b"X\x09\x00\x00\x00\x00\x00\x00\x00\x00\x00\xc3\xb8?" + text("latin1") + b"\x86R\x86R"
)  # fmt: skip  # numpy.float64(1.5)
STUBS: dict[str, tuple[bytes, dict[str, int]]] = {  # what lies beside the tensor t, and what is said to be left out
    "a class as a key": (b"}" + LIGHTNING + b"Ns", {"pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint": 1}),
    "an object as a key": (b"}" + stub() + b"Ns", {"mypackage.models.Model": 1}),
    "a key that holds a stub": (b"}(" + stub() + b"K\x01tNs", {"tuple": 1}),
    "a key of nested tuples": (b"(" + nested(40) + b"t0}h\x28Ns", {"tuple": 1}),
    "a key that is a number with a fraction": (b"}G?\xf8\x00\x00\x00\x00\x00\x00Ns", {"float": 1}),
    "an object that is called like a class": (named("mypackage", "Enum") + text("a") + b"\x85R", {"mypackage.Enum": 1}),
    "an object with a state": (stub() + state(text("a"), text("b")), {"mypackage.models.Model": 1}),
    "an object with __setstate__": (
        stub() + state(text("__setstate__"), named("mypackage", "Other"), text("__class__"), text("x")),
        {"mypackage.models.Model": 1},
    ),
    "an object with __hash__ and __eq__": (
        b"}" + stub() + state(text("__hash__"), b"K\x01", text("__eq__"), b"K\x01") + b"K\x01s",
        {"mypackage.models.Model": 1},
    ),
    "stubs in stubs": ((stub() + b"}" + text("a")) * 500 + b"N" + b"sb" * 500, {"mypackage.models.Model": 1}),
    "a list of objects": (b"](" + stub() * 3 + b"e", {"mypackage.models.Model": 3}),
    "a set": (named("__builtin__", "set") + b"](K\x01e\x85R", {"builtins.set": 1}),
    "a date": (named("datetime", "date") + text("x") + b"\x85R", {"datetime.date": 1}),
    "a path": (named("pathlib", "PosixPath") + text("/tmp") + b"\x85R", {"pathlib.PosixPath": 1}),
    "an object of protocol 0": (
        named("copy_reg", "_reconstructor") + named("mypackage", "Args") + named("__builtin__", "object") + b"N\x87R",
        {"mypackage.Args": 1},
    ),
    "a list of a class of its own": (named("mypackage", "Steps") + b")R(K\x01K\x02e", {"mypackage.Steps": 1}),
    "a number of NumPy's": (SCALAR, {}),
    "an OrderedDict of a class of its own": (named("mypackage", "Named") + b")R(" + text("a") + b"K\x01u", {}),
    "bytes": (named("_codecs", "encode") + text("ab") + text("latin1") + b"\x86R", {"bytes": 1}),
    "a function that is only named": (named("torch.nn.functional", "silu"), {"torch.nn.functional.silu": 1}),
    "a sparse tensor": (
        named("torch._utils", "_rebuild_sparse_tensor") + b")R",
        {"torch._utils._rebuild_sparse_tensor": 1},
    ),
}  # fmt: skip
HARMLESS = {
    f"left out: {name}": lambda body=body: archive(table(text("x"), body), DATA) for name, (body, _) in STUBS.items()
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    """What a watched process says of each file."""
    folder = tmp_path_factory.mktemp("stubs")
    made = HARMFUL | HARMLESS
    for number, make in enumerate(made.values()):
        (folder / f"{number}.pt").write_bytes(make())
    found = told_of([folder / f"{number}.pt" for number in range(len(made))])
    return {name: found[str(number)] for number, name in enumerate(made) if str(number) in found}


@pytest.mark.parametrize("name", HARMFUL | HARMLESS)
def test_nothing_runs(name: str, told: dict[str, Told]) -> None:
    assert name in told, "the process ended at this file, or before it"
    assert told[name].seen == []
    assert told[name].seconds < 1.5
    assert told[name].peak < 200_000_000
    assert not told[name].torch


@pytest.mark.parametrize("name", HARMFUL)
def test_what_would_run_is_refused_beside_a_tensor_too(name: str, told: dict[str, Told]) -> None:
    error = told[name].error
    assert error
    assert "holds no tensors" not in error


ONLY_BROKEN = {  # what no program could load, which is refused without a warning of harm
    "extension code", "a state that is set on a class", "a new object of what is no class",
    "entries that are set on a class",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(CALLED.keys() - ONLY_BROKEN))
def test_what_would_run_is_called_dangerous(name: str, told: dict[str, Told]) -> None:
    assert "do not load it anywhere" in told[f"harmful: {name}"].error


@pytest.mark.parametrize("name", STUBS)
def test_what_is_not_known_is_left_out(name: str, tmp_path: Path, told: dict[str, Told]) -> None:
    """The tensor beside it is read, and what was left out is counted; nothing runs."""
    assert told[f"left out: {name}"].error == ""
    path = tmp_path / "x.ckpt"
    path.write_bytes(archive(table(text("x"), STUBS[name][0]), ("archive/data/0", struct.pack("<4f", 1, 2, 3, 4))))
    file = TensorFile.open(path)
    assert file.tensors()["t"].tolist() == [1, 2, 3, 4]
    assert file.left_out == STUBS[name][1]
    count = sum(file.left_out.values())
    assert file.missing_parts.startswith(f"{count} object" if count else "")


@pytest.mark.slow
def test_a_stub_is_never_hashed_compared_or_filled_without_bound(tmp_path: Path) -> None:
    """Parameters that are merged over and over, and texts that are turned to bytes over and over, are counted."""
    module = b"}(" + text("_parameters") + b"}(" + b"".join(text(f"p{i}") + b"N" for i in range(20_000)) + b"uuq\x01"
    costly = {
        "merged": module + b"0](" + (stub() + b"h\x01b") * 3000 + b"e",
        "encoded": text("a" * 1_000_000) + b"q\x010" + text("latin1") + b"q\x020" + named("_codecs", "encode")
        + b"q\x030](" + b"h\x03h\x01h\x02\x86R" * 1000 + b"e",
        "one hash for all": b"}(" + b"".join(_long(i * (2**61 - 1)) + b"N" for i in range(1, 60_000)) + b"u",
    }  # fmt: skip
    for name, body in costly.items():
        (tmp_path / f"{name}.pt").write_bytes(archive(table(text("x"), body), DATA))
    told = told_of(sorted(tmp_path.iterdir()))
    assert told.keys() == costly.keys()
    assert all(one.seconds < 2 and one.peak < 250_000_000 and not one.seen for one in told.values())
    assert "more values" in told["merged"].error
    assert "more bytes" in told["encoded"].error
    assert TensorFile.open(tmp_path / "one hash for all.pt").left_out == {"int": 59_999}


def _long(number: int) -> bytes:
    return b"\x8a\x0a" + number.to_bytes(10, "little", signed=True)


# What programs write, with their own classes where those can be had.


class Named(OrderedDict[str, Any]):
    """An OrderedDict of a class of its own."""


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(2, 3)
        self.register_buffer("steps", torch.arange(4))


def saved(path: Path, content: Any, **how: Any) -> TensorFile:
    torch.save(content, path, **how)
    return TensorFile.open(path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "stream"])
def test_the_paper_s_embedding(protocol: int, legacy: bool, tmp_path: Path) -> None:
    """Textual Inversion's own code (arXiv:2208.01618) keeps a ParameterDict and the number of the token."""
    rows = torch.nn.Parameter(torch.randn(2, 768))
    content = {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": torch.nn.ParameterDict({"*": rows})}
    how = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": not legacy}
    file = saved(tmp_path / "fox.pt", content, **how)
    assert torch.equal(file.tensors(["string_to_param.*"])["string_to_param.*"], rows.detach())
    assert file.missing_parts == ""
    found = inspect(tmp_path / "fox.pt")
    assert (found.kind, found.family, found.details["vectors"]) == ("textual-inversion", "sd1", 2)


def test_a_pickled_module(tmp_path: Path) -> None:
    net = Net()
    read = saved(tmp_path / "net.pt", net).tensors()
    assert read.keys() == net.state_dict().keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in net.state_dict().items())


def test_a_state_dict_of_a_class_of_its_own(tmp_path: Path) -> None:
    file = saved(tmp_path / "x.pt", Named({"a": torch.ones(2), "b": Named({"c": torch.zeros(3)})}))
    assert file.layouts.keys() == {"a", "b.c"}
    assert file.missing_parts == ""


def test_numbers_and_arrays_of_numpy(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    scalars = {"f": numpy.float32(1.5), "i": numpy.int64(-7), "b": numpy.bool_(True), "h": numpy.float16(0.25)}
    rows = numpy.arange(6, dtype="f4").reshape(2, 3)
    arrays = {"rows": rows, "columns": numpy.asfortranarray(rows), "none": numpy.zeros((0, 2)),
              "texts": numpy.array(["a"]), "big": numpy.arange(3, dtype=">f4")}  # fmt: skip
    for protocol in (2, 4):
        file = saved(tmp_path / f"{protocol}.pt", {"t": torch.ones(1), **scalars, **arrays}, pickle_protocol=protocol)
        assert file.values == {"f": 1.5, "i": -7, "b": True, "h": 0.25}
        read = file.tensors()
        assert all(read[name].tolist() == arrays[name].tolist() for name in ("rows", "columns", "none"))
        assert file.left_out == {"numpy.ndarray": 2}


@pytest.mark.parametrize("device", ["cpu", "mps:0", "cuda:1"])
def test_a_storage_of_another_device(device: str, tmp_path: Path) -> None:
    """Only the name of the device is in the file; cuda had classes of storages of its own long ago."""
    body = FOUR.replace(text("cpu"), text(device))
    (tmp_path / "x.pt").write_bytes(archive(raw(b"}", text("a"), body, b"s"), DATA))
    assert TensorFile.open(tmp_path / "x.pt").tensors()["a"].tolist() == [0] * 4
    cuda = body.replace(named("torch", "FloatStorage"), named("torch.cuda", "FloatStorage"))
    (tmp_path / "y.pt").write_bytes(archive(raw(b"}", text("a"), cuda, b"s"), DATA))
    assert TensorFile.open(tmp_path / "y.pt").tensors()["a"].tolist() == [0] * 4


def test_a_tensor_of_an_apple_gpu(tmp_path: Path) -> None:
    """PyTorch 1.12 wrote those as arrays of NumPy."""

    class Apple:
        def __reduce__(self) -> tuple[Any, ...]:
            rows = torch.arange(6.0).reshape(2, 3).numpy()
            return torch._utils._rebuild_device_tensor_from_numpy, (rows, torch.float32, "mps:0", True)

    content = {"string_to_token": {"*": 265}, "string_to_param": {"*": Apple()}, "name": "fox", "step": 5}
    (tmp_path / "fox.pt").write_bytes(archive(pickle.dumps(content, 2)))
    file = TensorFile.open(tmp_path / "fox.pt")
    assert file.tensors()["string_to_param.*"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_the_state_of_an_optimiser_is_left_out(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimiser = torch.optim.AdamW([weight])
    weight.sum().backward()
    optimiser.step()
    content = {"a": weight, "optimizer_name": "AdamW", "optimizer_state_dict": optimiser.state_dict()}
    file = saved(tmp_path / "x.pt", content)
    assert file.layouts.keys() == {"a"}
    assert file.missing_parts == "the state of its optimiser (3 tensors)"
    assert file.values == {"optimizer_name": "AdamW"}
    del content["a"]
    with pytest.raises(TriptychError, match="holds no tensors but the state of an optimiser"):
        saved(tmp_path / "y.pt.optim", content)


def test_tensors_share_their_storage_and_the_file_stays_as_it_is(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    file = saved(tmp_path / "x.pt", {"whole": whole, "column": whole[:, 1], "turned": whole.T, "bytes": torch.ones(1)})
    before = (tmp_path / "x.pt").read_bytes()
    read = file.tensors()
    assert torch.equal(read["column"], whole[:, 1])
    assert torch.equal(read["turned"], whole.T)
    read["whole"][0, 1] = 99
    assert read["column"][0] == read["turned"][1, 0] == 99
    assert (tmp_path / "x.pt").read_bytes() == before
