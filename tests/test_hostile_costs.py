"""What hostile files cost before they are refused, and what happens meanwhile: next to nothing, and nothing."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tests.test_hostile_files import (
    CANARY,
    DATA,
    EXEC,
    MAGIC,
    ONE,
    PICKLES,
    STORAGE,
    archive,
    entry,
    every,
    named,
    raw,
    safetensors,
    tensor,
    text,
)
from triptych.errors import TriptychError, printable
from triptych.files.tensorfile import TensorFile

FOUR = tensor((4,), (1,), 4)


def table(*pairs: bytes) -> bytes:
    """A pickle of a table with a tensor called t, and these keys and values."""
    return raw(b"}", text("t"), FOUR, b"s(", *pairs, b"u")


def counted(numbers: int, value: bytes) -> bytes:
    return b"".join(b"M" + struct.pack("<H", number) + value for number in range(numbers))


def nested(levels: int) -> bytes:
    """Tuples of three of the tuple before: to hash, print or compare it takes 3^levels steps. Stays on the stack."""
    steps = [
        b"h" + bytes([level]) + (b"h" + bytes([level])) * 2 + b"\x87q" + bytes([level + 1]) for level in range(levels)
    ]
    return b"K\x01q\x00" + b"".join(steps)


def copies() -> bytes:
    pairs = b"](" + b"".join(b"M" + struct.pack("<H", number) + b"N\x86" for number in range(60_000)) + b"e\x85q\x01"
    return table(text("x"), b"](", pairs, named("collections", "OrderedDict"), b"q\x02", b"h\x02h\x01R" * 2000, b"e")


def stream(value: bytes, keys: bytes) -> bytes:
    """The container of before PyTorch 1.6."""
    return MAGIC + raw(b"M\xe9\x03") + raw(b"}") + value + keys


def a_million_entries() -> bytes:
    one = struct.pack("<I6H3I5H2I", 0x02014B50, 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    many = one * 1_000_000
    return b"PK\x03\x04" + bytes(26) + many + struct.pack("<I4H2IH", 0x06054B50, 0, 0, 65535, 65535, len(many), 30, 0)


def changed(place: bytes, at: int, by: bytes, whole: bytes | None = None) -> bytes:
    """An archive with `by` so many bytes behind the first occurrence of `place`."""
    content = bytearray(whole or archive(ONE, DATA))
    begin = content.index(place) + at
    content[begin : begin + len(by)] = by
    return bytes(content)


def a_second_list() -> bytes:
    """Two archives in one file: readers that search for the end from other sides find another list of entries."""
    inner = archive(raw(EXEC), DATA)
    return archive(ONE, DATA)[:-2] + struct.pack("<H", len(inner)) + inner


def an_end_of_64_bits() -> bytes:
    """Behind the true list of entries, a record that says that the list is elsewhere."""
    whole = archive(ONE, DATA)
    record = struct.pack("<IQ2H2I4Q", 0x06064B50, 44, 45, 45, 0, 0, 2, 2, 1 << 40, 0)
    return whole[:-22] + record + struct.pack("<2IQI", 0x07064B50, 0, len(whole) - 22, 1) + whole[-22:]


COSTLY: dict[str, Callable[[], bytes]] = {
    "a name of nested tuples": lambda: archive(raw(nested(40), b"N\x93"), DATA),
    "a key of nested tuples": lambda: archive(
        table(text("w"), b"(", nested(40), b"t", text("x"), named("collections", "OrderedDict"), b"]h\x28N\x86a\x85R"),
        DATA,
    ),
    "a storage of nested tuples": lambda: archive(raw(b"(", nested(40), b"tQ"), DATA),
    "keys of nested tuples": lambda: stream(table(), raw(b"](", nested(40), b"e")),
    "a long name over many": lambda: archive(table(text("k" * 1_000_000), b"}(", counted(30_000, b"N"), b"u"), DATA),
    "a long text shared by many": lambda: archive(
        table(text("k"), text("v" * 1_000_000) + b"q\x01", counted(30_000, b"h\x01")), DATA
    ),
    "a long list shared by many": lambda: archive(
        table(text("k"), b"](" + b"K\x01" * 300_000 + b"eq\x01", counted(30_000, b"h\x01")), DATA
    ),
    "a table copied often": lambda: archive(copies(), DATA),
    "many opcodes": lambda: archive(raw(b"]" * 15_000_000), DATA),
    "a long text in the old stream": lambda: MAGIC + b"\x80\x02X" + struct.pack("<I", 30_000_000) + bytes(40_000_000),
    "a million entries": a_million_entries,
    "many sizes in a shape": lambda: safetensors({"a": entry(shape=[2**62] * 300_000)}, bytes(8)),
    "sizes beyond counting": lambda: safetensors({"a": entry(shape=[10**4000, 0], end=0)}),
    "a header of lists": lambda: safetensors(b'{"a":[' + b"[]," * 15_000_000 + b"[]]}"),
    "a header of numbers": lambda: safetensors(b'{"a":[' + b"1000," * 8_000_000 + b"1]}"),
}  # fmt: skip
TRICKS: dict[str, Callable[[], bytes]] = {
    "names that differ in capitals": lambda: archive(ONE, DATA, ("archive/DATA.PKL", raw(EXEC))),
    "an entry outside the folder": lambda: archive(ONE, DATA, ("other/data/0", b"x")),
    "no folder": lambda: archive(ONE, ("data/0", bytes(16)), name="data.pkl"),
    "a second list of entries": a_second_list,
    "something before it": lambda: archive(ONE, DATA)[:4] + archive(ONE, DATA),
    "something behind it": lambda: archive(ONE, DATA) + b"x",
    "two names of one entry": lambda: changed(b"archive/data.pkl", 0, b"archive/DATA.pkl"),
    "two sizes of one entry": lambda: changed(b"PK\x03\x04", 22, struct.pack("<I", 7)),
    "a long extra field": lambda: changed(b"PK\x03\x04", 28, b"\xff\xff"),
    "an end of 64 bits that lies": lambda: an_end_of_64_bits(),
    "TorchScript": lambda: archive(ONE, DATA, ("archive/constants.pkl", raw(b")"))),
    "an unknown order of bytes": lambda: archive(ONE, DATA, ("archive/byteorder", b"middle-endian")),
    "another file inside": lambda: archive(b"x", name="model.safetensors"),
    "a name of two lines": lambda: safetensors({"a\nb\x1b[31m": entry(dtype="F33")}, bytes(8)),
    "a long kind": lambda: safetensors({"a": entry(dtype="F\n" * 100_000)}, bytes(8)),
    "a long name": lambda: safetensors({"a" * 100_000: entry(dtype="F33")}, bytes(8)),
    "half a letter in a name": lambda: safetensors(b'{"\\ud800":' + json.dumps(entry()).encode() + b"}", bytes(8)),
    "half a letter in the metadata": lambda: safetensors(
        b'{"__metadata__":{"title":"\\ud800"},"a":' + json.dumps(entry()).encode() + b"}", bytes(8)
    ),
    "half a letter in a value": lambda: archive(table(text("x"), b"X\x03\x00\x00\x00\xed\xa0\x80"), DATA),
    "a call of two lines": lambda: archive(raw(text("os\nx\x1b[2J"), text("y" * 100_000), b"\x93"), DATA),
    "a persistent id of two lines": lambda: archive(raw(b"P" + b"z" * 100_000 + b"\n"), DATA),
    "a view of a storage": lambda: stream(raw(STORAGE + b"K\x04", text("view"), b"K\x00K\x01\x87tQ"), raw(b"]")),
    "another size in the old stream": lambda: stream(table(), raw(b"]", text("0"), b"a")) + bytes(24),
    "keys twice in the old stream": lambda: stream(table(), raw(b"](", text("0"), text("0"), b"e")) + bytes(60),
    "a table of no pairs": lambda: archive(
        table(text("x"), named("collections", "OrderedDict"), b"](K\x01e\x85R"), DATA
    ),
    "another order of bytes": lambda: archive(ONE, DATA, ("archive/byteorder", b"big")),
    "zeros": lambda: bytes(100_000),
    "a page behind blanks": lambda: b"\n\n  <html>",
    "a message": lambda: b"Entry not found\n",
    "a tar archive": lambda: bytes(257).replace(b"\0", b"x") + b"ustar\0",
    "a sound": lambda: b"RIFF\x00\x00\x00\x00WAVEfmt ",
}  # fmt: skip


@dataclass(frozen=True)
class Told:
    error: str
    seconds: float
    seen: list[str]
    peak: int
    torch: bool


def told_of(paths: list[Path], *options: str) -> dict[str, Told]:
    """What a process of its own says of each file; fewer where a file ended it."""
    command = [sys.executable, "-m", "tests.opening", *options]
    place = Path(__file__).parents[1]
    names = "\n".join(map(str, paths))
    done = subprocess.run(command, input=names, capture_output=True, text=True, cwd=place, timeout=120, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    return {Path(line[0]).stem: Told(*line[1:]) for line in lines}


ALL = every() | COSTLY | TRICKS


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    folder = tmp_path_factory.mktemp("hostile")
    paths = []
    for number, make in enumerate(ALL.values()):
        paths.append(folder / f"{number}.pt")
        paths[-1].write_bytes(make())
    found = told_of(paths)
    return {name: found[str(number)] for number, name in enumerate(ALL) if str(number) in found}


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_it_costs_and_does_nothing(name: str, told: dict[str, Told]) -> None:
    assert name in told, "the process ended at this file, or before it"
    assert told[name].seen == []
    assert told[name].seconds < 1.5
    assert told[name].peak < 200_000_000
    assert not told[name].torch


@pytest.mark.slow
@pytest.mark.parametrize("name", COSTLY | TRICKS)
def test_it_is_refused_with_a_sentence(name: str, told: dict[str, Told]) -> None:
    assert told[name].error
    assert told[name].error.isprintable()
    assert len(told[name].error) < 400


def test_the_watch_sees_what_careless_loading_does(tmp_path: Path) -> None:
    """The control: the same files, unpickled, do what they ask for, and the hook tells."""
    for name in ("eval", "exec", "exec by protocol 4", "os.system"):
        (tmp_path / f"{name}.pt").write_bytes(PICKLES[name])
    seen = {name: " ".join(one.seen) for name, one in told_of(sorted(tmp_path.iterdir()), "--load").items()}
    assert "os.system (" in seen["os.system"]
    assert all(f"os.putenv (b'{CANARY}'" in seen[name] for name in ("eval", "exec", "exec by protocol 4"))


def test_torch_too_finds_what_was_looked_at(tmp_path: Path) -> None:
    """An archive that opens is read by torch's own reader as it was read here."""
    path = tmp_path / "a.pt"
    path.write_bytes(archive(ONE, ("archive/data/0", struct.pack("<4f", 1, 2, 3, 4)), ("archive/version", b"3\n")))
    assert (
        TensorFile.open(path).tensors()["a"].tolist()
        == torch.load(path, weights_only=True)["a"].tolist()
        == [1, 2, 3, 4]
    )


GENUINE = {
    "float8": {"a": torch.ones(3).to(torch.float8_e4m3fn)},
    "unsigned": {"a": torch.arange(3).to(torch.uint16)},
    "a kind as a value": {"a": torch.ones(3), "dtype": torch.float16},
}


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("name", GENUINE)
def test_kinds_and_wrong_names(name: str, suffix: str, tmp_path: Path) -> None:
    """torch would read what is called .safetensors as that."""
    torch.save(GENUINE[name], tmp_path / f"x.{suffix}")
    read = TensorFile.open(tmp_path / f"x.{suffix}").tensors()
    assert read.keys() == {"a"}
    assert read["a"].dtype == GENUINE[name]["a"].dtype
    assert read["a"].float().tolist() == GENUINE[name]["a"].float().tolist()


@pytest.mark.parametrize("kind", [torch.float8_e5m2, torch.bfloat16, torch.float64, torch.complex64])
def test_what_is_no_number_is_told_by_name(kind: torch.dtype, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    bad = torch.zeros(5, 3)
    bad[4, 1] = float("nan")
    save_file({"good": torch.zeros(2).to(kind), "bad": bad.to(kind)}, tmp_path / "x.safetensors")
    file = TensorFile.open(tmp_path / "x.safetensors")
    with pytest.raises(TriptychError, match="tensor bad"):
        file.tensors()
    assert file.tensors(["good"])["good"].dtype == kind


def test_large_numbers_whose_sum_overflows_are_numbers(tmp_path: Path) -> None:
    torch.save({"a": torch.full((4, 3), 3e38).T}, tmp_path / "x.pt")
    assert TensorFile.open(tmp_path / "x.pt").tensors()["a"].shape == (3, 4)


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_file_that_is_exchanged_after_it_was_looked_at_is_not_read(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{suffix}"
    torch.save({"a": torch.ones(2)}, path)
    file = TensorFile.open(path)
    path.write_bytes(archive(raw(EXEC), DATA))
    with pytest.raises(TriptychError, match="has changed since it was looked at"):
        file.tensors()
    assert CANARY not in os.environ


def test_a_folder_and_a_picture(tmp_path: Path) -> None:
    with pytest.raises(TriptychError, match="is a folder"):
        TensorFile.open(tmp_path)
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert TensorFile.open(tmp_path / "x.png").tensors() == {}


def test_printable() -> None:
    assert printable("a\nb\x1b[1m\ud800 日本") == "a\\nb\\x1b[1m\\ud800 日本"
