"""Files that would do harm, and files that are broken: each refused with one sentence, none of them run or loaded."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import struct
import tracemalloc
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from triptych.errors import TriptychError
from triptych.exchange.inspection import inspect
from triptych.files.tensorfile import TensorFile

CANARY = "TRIPTYCH_CANARY"
SET = f"import os; os.environ[{CANARY!r}] = 'sang'"


class Asks:
    """Pickled, it asks for a call."""

    def __init__(self, call: Callable[..., Any], *given: Any) -> None:
        self.call, self.given = call, given

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.given


def raw(*opcodes: bytes) -> bytes:
    return b"\x80\x02" + b"".join(opcodes) + b"."


def text(string: str) -> bytes:
    return b"X" + struct.pack("<I", len(string)) + string.encode()


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


EXEC = named("builtins", "exec") + text(SET) + b"\x85R"
STORAGE = b"(" + text("storage") + named("torch", "FloatStorage") + text("0") + text("cpu")


def tensor(shape: tuple[int, ...], stride: tuple[int, ...], numbers: int, offset: int = 0) -> bytes:
    """What builds a tensor of the storage "0"."""

    def counts(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", value) for value in values) + b"t"

    storage = STORAGE + b"\x8a\x08" + struct.pack("<q", numbers) + b"tQ"
    rest = b"J" + struct.pack("<i", offset) + counts(shape) + counts(stride)
    ordered = named("collections", "OrderedDict") + b")R"
    return named("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + rest + b"\x89" + ordered + b"tR"


PICKLES: dict[str, bytes] = {
    "os.system": pickle.dumps(Asks(os.system, f"export {CANARY}=1"), 2),
    "eval": pickle.dumps(Asks(eval, f"exec({SET!r})"), 2),
    "exec": pickle.dumps(Asks(exec, SET), 2),
    "exec by protocol 4": pickle.dumps(Asks(exec, SET), 4),
    "exec by protocol 0": pickle.dumps(Asks(exec, SET), 0),
    "__import__": pickle.dumps(Asks(__import__, "antigravity"), 2),
    "getattr": raw(named("builtins", "getattr"), named("os", "environ"), text("clear"), b"\x86R"),
    "subprocess": raw(named("subprocess", "Popen"), text("true"), b"\x85R"),
    "runpy": raw(named("runpy", "run_path"), text("x.py"), b"\x85R"),
    "importlib": raw(named("importlib", "import_module"), text("antigravity"), b"\x85R"),
    "torch.load": raw(named("torch.serialization", "load"), text("x.pt"), b"\x85R"),
    "torch.hub": raw(named("torch.hub", "load"), text("x"), text("y"), b"\x86R"),
    "torch jit": raw(named("torch.jit", "load"), text("x"), b"\x85R"),
    "a dotted name": raw(named("torch._utils", "_rebuild_tensor_v2.__globals__"), b")R"),
    "numpy": raw(named("numpy.core.multiarray", "_reconstruct"), b")R"),
    "lightning": raw(named("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint"), b")\x81"),
    "functools": raw(named("functools", "partial"), named("builtins", "exec"), b"\x85R"),
    "copyreg": raw(named("copyreg", "_reconstructor"), b")R"),
    "webbrowser": raw(named("webbrowser", "open"), text("x"), b"\x85R"),
    "stack global from the memo": raw(
        text("builtins"), b"q\x00", text("exec"), b"q\x01", b"00h\x00h\x01\x93", text(SET), b"\x85R"
    ),
    "inst": b"(S'x'\nios\nsystem\n.",
    "obj": raw(b"(", named("os", "system"), text("true"), b"o"),
    "newobj": raw(named("collections", "OrderedDict"), b")\x81"),
    "newobj ex": b"\x80\x04" + named("builtins", "exec") + b")}\x92.",
    "extension code": raw(b"\x82\x01"),
    "a textual persistent id": raw(b"Pcommand\n"),
    "a persistent id that is code": raw(EXEC, b"Q"),
    "a persistent id of code within": raw(b"(", text("storage"), EXEC, text("0"), text("cpu"), b"K\x01tQ"),
    "a storage of another kind": raw(b"(", text("storage"), named("torch", "Size"), text("0"), text("cpu"), b"K\x01tQ"),
    "a negative storage": raw(STORAGE, b"J\xff\xff\xff\xfftQ"),
    "code as a key": raw(b"}", EXEC, text("x"), b"s"),
    "code in a state": raw(b"}", EXEC, b"b"),
    "code in a tensor's hooks": raw(named("torch._utils", "_rebuild_tensor_v2"), b"(", EXEC, b"tR"),
    "a state set on a list": raw(b"]}b"),
    "set state of a class": raw(named("torch", "Size"), b"}", text("__reduce__"), EXEC, b"sb"),
    "a tensor larger than its storage": raw(tensor((1 << 40,), (1,), 4)),
    "a tensor that stands still": raw(tensor((1 << 40,), (0,), 4)),
    "a tensor beyond its storage": raw(tensor((2,), (1,), 4, offset=3)),
    "a negative shape": raw(tensor((-1,), (1,), 4)),
    "a storage that is not there": raw(tensor((1 << 40,), (1,), 1 << 40)),
    "a shape that is text": raw(
        named("torch._utils", "_rebuild_tensor_v2"), STORAGE, b"K\x04tQK\x00", text("x"), text("y"), b"\x89}tR"
    ),
    "a long bomb": raw(b"\x8b\xff\xff\xff\x7f"),
    "a string longer than the file": raw(b"\x8d" + struct.pack("<Q", 1 << 60)),
    "nothing on the stack": raw(b"s"),
    "no mark": raw(b"t"),
    "recalls nothing": raw(b"h\x07"),
    "no end": b"\x80\x02}",
    "bytes": b"\x80\x04C\x03abc.",
    "a call of a value": raw(b"})R"),
}  # fmt: skip


def laughs() -> bytes:
    """Lists of ten of the list before, nine deep: a billion names in a hundred bytes."""
    steps = [b"]q\x00(" + b"K\x01" * 10 + b"e"]
    steps += [b"]q" + bytes([i]) + b"(" + (b"h" + bytes([i - 1])) * 10 + b"e" for i in range(1, 9)]
    return raw(*steps)


def deep() -> bytes:
    return raw(b"]" * 100_000, b"a" * 99_999)


PICKLES |= {"a billion names": laughs(), "nested deeply": deep(), "marks upon marks": raw(b"(" * 100_000)}


def archive(data: bytes, *more: tuple[str, bytes], compressed: bool = False, name: str = "archive/data.pkl") -> bytes:
    buffer = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", kind) as file:
        file.writestr(name, data)
        for entry, content in more:
            file.writestr(entry, content)
    return buffer.getvalue()


GOOD = pickle.dumps({"a": 1}, 2)
MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2)  # the first of the pickles that make up the old container
ONE = raw(b"}", text("a"), tensor((4,), (1,), 4), b"s")
DATA = ("archive/data/0", bytes(16))


def twice(name: str, content: bytes) -> bytes:
    with pytest.warns(UserWarning, match="Duplicate"):
        return archive(ONE, DATA, (name, content), (name, content))


ARCHIVES: dict[str, Callable[[], bytes]] = {
    "a path upwards": lambda: archive(ONE, DATA, ("../../evil", b"x")),
    "an absolute path": lambda: archive(ONE, DATA, ("/etc/evil", b"x")),
    "a path of windows": lambda: archive(ONE, DATA, ("archive\\..\\evil", b"x")),
    "a drive": lambda: archive(ONE, DATA, ("C:evil", b"x")),
    "one name twice": lambda: twice("archive/data/1", b"x"),
    "compressed": lambda: archive(ONE, DATA, compressed=True),
    "a zip bomb": lambda: archive(ONE, ("archive/data/0", bytes(200_000_000)), compressed=True),
    "a pickle that is a bomb": lambda: archive(bytes(200_000_000), compressed=True),
    "two pickles": lambda: archive(ONE, DATA, ("data.pkl", GOOD)),
    "no pickle": lambda: archive(b"x", name="readme.txt"),
    "a short storage": lambda: archive(ONE, ("archive/data/0", bytes(15))),
    "a missing storage": lambda: archive(ONE),
    "no tensors": lambda: archive(GOOD),
    "one storage in two sizes": lambda: archive(
        raw(b"}", text("a"), tensor((4,), (1,), 4), b"s", text("b"), tensor((8,), (1,), 8), b"s"), DATA
    ),
    "overlapping entries": lambda: overlapping(),
    "cut off": lambda: archive(ONE, DATA)[:-30],
    "an archive of nothing": lambda: archive(b"", name="archive/data.pkl"),
}  # fmt: skip


def overlapping() -> bytes:
    """The central directory sends the second entry to the bytes of the first."""
    whole = bytearray(archive(ONE, DATA))
    second = whole.rindex(b"PK\x01\x02")
    whole[second + 42 : second + 46] = struct.pack("<I", 4)
    return bytes(whole)


def safetensors(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    told = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(told) if length is None else length) + told + data


def entry(shape: object = (2,), dtype: object = "F32", begin: object = 0, end: object = 8) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


PLAIN: dict[str, bytes] = {
    "empty": b"",
    "a web page": b"<!DOCTYPE html><title>404</title>",
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "JSON": b'{"a": 1}',
    "GGUF": b"GGUF\x03\x00\x00\x00",
    "a text": b"just a note that somebody left",
    "one byte": b"x",
    "a program": b"\x7fELF\x02\x01\x01",
    "a header beyond the end": safetensors({"a": entry()}, length=1 << 40),
    "a header of no length": safetensors({"a": entry()}, length=0),
    "a header that is no JSON": safetensors(b'{"a": '),
    "a header of deep nesting": safetensors(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "a header without tensors": safetensors({"__metadata__": {"a": "b"}}),
    "metadata that is a list": safetensors({"__metadata__": [1], "a": entry()}, bytes(8)),
    "metadata of numbers": safetensors({"__metadata__": {"a": 1}, "a": entry()}, bytes(8)),
    "a name twice": safetensors(f'{{"a":{json.dumps(entry())},"a":{json.dumps(entry())}}}'.encode(), bytes(8)),
    "an entry that is a text": safetensors({"a": "b"}),
    "an entry without a place": safetensors({"a": {"dtype": "F32", "shape": [2]}}, bytes(8)),
    "an unknown kind": safetensors({"a": entry(dtype="F33")}, bytes(8)),
    "a kind that is a list": safetensors({"a": entry(dtype=["F32"])}, bytes(8)),
    "a negative size": safetensors({"a": entry(shape=(-2,))}, bytes(8)),
    "a size that is a text": safetensors({"a": entry(shape="2")}, bytes(8)),
    "a size that is true": safetensors({"a": entry(shape=(True, 2))}, bytes(8)),
    "a size that is half": safetensors({"a": entry(shape=(1.5,))}, bytes(8)),
    "a shape larger than its bytes": safetensors({"a": entry(shape=(1 << 40,))}, bytes(8)),
    "a shape that overflows": safetensors({"a": entry(shape=(1 << 32, 1 << 32, 1 << 32))}, bytes(8)),
    "bytes beyond the end": safetensors({"a": entry()}, bytes(4)),
    "bytes after the end": safetensors({"a": entry()}, bytes(12)),
    "a hole": safetensors({"a": entry(), "b": entry(begin=12, end=20)}, bytes(20)),
    "an overlap": safetensors({"a": entry(), "b": entry(begin=4, end=12)}, bytes(12)),
    "bytes that end before they begin": safetensors({"a": entry(shape=(0,), begin=8, end=0)}, bytes(8)),
    "not a number": save({"a": torch.tensor([1.0, float("nan")])}),
    "infinite": save({"a": torch.tensor([1.0, float("-inf")], dtype=torch.float16)}),
    "numbers of no kind that is known": save({"a": torch.zeros(3)}),
}  # fmt: skip


def every() -> dict[str, Callable[[], bytes]]:
    found: dict[str, Callable[[], bytes]] = {}
    found |= {f"bare {name}": lambda data=data: data for name, data in PICKLES.items()}
    found |= {f"zipped {name}": lambda data=data: archive(data, DATA) for name, data in PICKLES.items()}
    found |= {f"archive: {name}": make for name, make in ARCHIVES.items()}
    return found | {f"plain: {name}": lambda data=data: data for name, data in PLAIN.items()}


def test_the_corpus_is_large_enough() -> None:
    assert len(every()) >= 60


@pytest.mark.parametrize("name", every())
def test_refused_with_one_sentence(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CANARY, raising=False)
    content = every()[name]()
    path = tmp_path / "file.pt"
    path.write_bytes(content)
    del content
    tracemalloc.start()
    try:
        with pytest.raises(TriptychError) as refused:
            inspect(path)
            TensorFile.open(path).tensors()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(path) in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert len(str(refused.value)) < 400
    assert peak < 60_000_000
    assert CANARY not in os.environ


@pytest.mark.parametrize("name", ["os.system", "exec", "functools", "a dotted name"])
def test_the_sentence_names_what_is_asked_for(name: str, tmp_path: Path) -> None:
    path = tmp_path / "file.ckpt"
    path.write_bytes(archive(PICKLES[name]))
    asked = {
        "os.system": "posix.system",
        "exec": "exec",
        "functools": "functools.partial",
        "a dotted name": "__globals__",
    }
    with pytest.raises(TriptychError, match=asked[name]):
        TensorFile.open(path)


GENUINE: dict[str, Any] = {
    "an embedding": {
        "string_to_token": {"*": 265}, "string_to_param": {"*": torch.nn.Parameter(torch.randn(2, 768))},
        "name": "fox", "step": 500, "sd_checkpoint": None, "sd_checkpoint_name": "x",
    },
    "a hypernetwork": {
        768: (OrderedDict({"linear.0.weight": torch.randn(4, 2)}), OrderedDict({"linear.0.weight": torch.ones(4, 2)})),
        "step": 10, "layer_structure": [1, 2, 1], "dropout_structure": None, "activate_output": True,
    },
    "a checkpoint": {"state_dict": {"a.b": torch.randn(3).bfloat16(), "c": torch.arange(4)}, "global_step": 7},
    "a bare tensor": torch.randn(1, 768).half(),
    "views of one storage": dict(zip("ab", torch.randn(6).split(3), strict=True)),
    "a transposed tensor": {"a": torch.randn(3, 5).T},
    "an empty tensor": {"a": torch.zeros(0, 4)},
    "a module's state": torch.nn.Linear(2, 3).state_dict(),
    "bytes and truths": {"a": torch.tensor([True, False]), "b": torch.tensor([1, 2], dtype=torch.uint8)},
}  # fmt: skip
NAMES = {
    "an embedding": {"string_to_param.*"}, "a hypernetwork": {"768.0.linear.0.weight", "768.1.linear.0.weight"},
    "a checkpoint": {"state_dict.a.b", "state_dict.c"}, "a bare tensor": {""},
}  # fmt: skip


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", GENUINE)
def test_what_torch_writes_opens(name: str, legacy: bool, tmp_path: Path) -> None:
    path = tmp_path / "file.anything"
    torch.save(GENUINE[name], path, _use_new_zipfile_serialization=not legacy)
    file = TensorFile.open(path)
    read = file.tensors()
    assert read.keys() == NAMES.get(name, file.layouts.keys())
    assert {key: tuple(value.shape) for key, value in read.items()} == {k: v.shape for k, v in file.layouts.items()}

    def same(value: Any, where: str) -> int:
        if isinstance(value, torch.Tensor):
            assert torch.equal(read[where], value.detach())
            return 1
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, tuple) else ()
        return sum(same(one, f"{where}.{key}" if where else str(key)) for key, one in inner)

    assert same(GENUINE[name], "") == len(read)


def test_plain_values_of_a_pickle(tmp_path: Path) -> None:
    torch.save(GENUINE["a hypernetwork"], tmp_path / "h.pt")
    values = TensorFile.open(tmp_path / "h.pt").values
    assert values == {"step": 10, "layer_structure": [1, 2, 1], "dropout_structure": None, "activate_output": True}


def test_a_safetensors_file_is_mapped(tmp_path: Path) -> None:
    save_file({"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(0)}, tmp_path / "x.bin", {"who": "me"})
    file = TensorFile.open(tmp_path / "x.bin")
    assert (file.container, file.metadata, file.layouts["a"].shape) == ("safetensors", {"who": "me"}, (2, 3))
    assert torch.equal(file.tensors(["a"])["a"], torch.arange(6.0).reshape(2, 3))
    with pytest.raises(TriptychError, match="no tensor 'c'"):
        file.tensors(["c"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["safetensors", "zip", "legacy"]), st.integers(0, 2**32), st.sampled_from(["cut", "flip", "noise"])
)
def test_damage_is_always_told(tmp_path: Path, kind: str, seed: int, damage: str) -> None:
    """Whatever happened to the bytes: it opens, or one sentence says why not."""
    path, chance = tmp_path / "file", random.Random(seed)
    if kind == "safetensors":
        save_file({"a": torch.ones(3), "b": torch.ones(2, 2).half()}, path, {"k": "v"})
    else:
        torch.save(GENUINE["a hypernetwork"], path, _use_new_zipfile_serialization=kind == "zip")
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[chance.randrange(len(content)) :]
    elif damage == "flip":
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    else:
        place = chance.randrange(len(content))
        content[place : place + 8] = chance.randbytes(8)
    path.write_bytes(content)
    try:
        TensorFile.open(path).tensors()
    except TriptychError as error:
        assert len(str(error).splitlines()) == 1
