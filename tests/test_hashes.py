"""The hashes against hashlib over bytes that the test puts together itself."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from triptych.files import hashes
from triptych.files.hashes import hashes_of, known_hashes, known_sha256
from triptych.files.tensorfile import TensorFile


@pytest.mark.parametrize("chunk", [1, 7, 1 << 22])
def test_the_three_hashes(chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "CHUNK", chunk)
    header, data = json.dumps({"a": {"dtype": "U8", "shape": [40], "data_offsets": [0, 40]}}).encode(), bytes(range(40))
    whole = struct.pack("<Q", len(header)) + header + data
    (tmp_path / "x.safetensors").write_bytes(whole)
    found = hashes_of(tmp_path / "x.safetensors", TensorFile.open(tmp_path / "x.safetensors").data)
    assert found.sha256 == hashlib.sha256(whole).hexdigest().upper()
    assert found.autov2 == hashlib.sha256(whole).hexdigest()[:10].upper()
    assert found.autov3 == hashlib.sha256(data).hexdigest()[:12].upper()


def test_what_has_no_header_has_no_hash_without_it(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(b"abc")
    assert hashes_of(tmp_path / "x.pt").autov3 == ""
    assert hashes_of(tmp_path / "x.pt").autov2 == hashlib.sha256(b"abc").hexdigest()[:10].upper()


def test_a_file_is_hashed_once_for_each_hash_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hashes, "hashes_of", lambda *given: (asked.append(given[1:]), hashes_of(*given))[1])
    path, asked = tmp_path / "x.safetensors", list[tuple[int, ...]]()
    save_file({"a": torch.zeros(4)}, path)
    data = TensorFile.open(path).data
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest().upper()
    for _ in range(2):
        assert known_sha256(path) == sha256
    assert asked == [()]
    for _ in range(2):
        assert known_hashes(path) == hashes_of(path, data)
    assert known_sha256(path) == sha256 and asked == [(), (data,)]
