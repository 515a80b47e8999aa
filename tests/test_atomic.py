"""Writing under a temporary name: two writers do not meet, and only what kept the file from being written is named."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from triptych.errors import TriptychError
from triptych.files.atomic import make_folder, replacing, replacing_entries, write_bytes


def test_two_threads_that_write_one_path_leave_one_of_them_whole(tmp_path: Path) -> None:
    """Both have written half when the other goes on: with one temporary name their bytes would be mixed."""
    path, half, failures = tmp_path / "x", threading.Barrier(2), list[BaseException]()

    def write(letter: bytes, count: int) -> None:
        try:
            with replacing(path) as temporary, temporary.open("wb") as file:
                file.write(letter * count)
                file.flush()
                half.wait(10)
                file.write(letter * count)
                file.flush()
                half.wait(10)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=given) for given in ((b"a", 1000), (b"b", 3000))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert path.read_bytes() in (b"a" * 2000, b"b" * 6000)
    assert [one.name for one in tmp_path.iterdir()] == ["x"]


def test_an_error_of_the_block_that_is_not_about_writing_passes_unchanged(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"old")
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "x") as temporary:
        temporary.write_bytes((tmp_path / "not there").read_bytes())
    with pytest.raises(ConnectionResetError), replacing(tmp_path / "x"):
        raise ConnectionResetError(errno.ECONNRESET, "the other side hung up")
    with pytest.raises(FileNotFoundError), replacing_entries(tmp_path / "folder", "last"):
        (tmp_path / "not there").read_bytes()
    assert (tmp_path / "x").read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
def test_a_full_disk_is_said_of_the_file(number: int, tmp_path: Path) -> None:
    with pytest.raises(TriptychError, match=f"cannot write {tmp_path / 'x'}"), replacing(tmp_path / "x") as temporary:
        temporary.write_bytes(b"half")
        raise OSError(number, "no room")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_vanishes_or_is_a_file_is_said_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TriptychError, match="cannot write"):
        write_bytes(tmp_path / "file" / "x", b"a")
    with pytest.raises(TriptychError, match="cannot write"):
        write_bytes(tmp_path / "file" / "deeper" / "x", b"a")
    with pytest.raises(TriptychError, match="nothing can be written in"):
        make_folder(tmp_path / "file")
    (tmp_path / "folder").mkdir()
    with pytest.raises(TriptychError, match="cannot write"), replacing(tmp_path / "folder" / "x") as temporary:
        (tmp_path / "folder").rmdir()
        temporary.write_bytes(b"a")
    with pytest.raises(TriptychError, match="cannot write"):
        write_bytes(tmp_path / ("n" * 300), b"a")


def test_a_name_as_long_as_a_file_system_bears(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    write_bytes(path, b"a")
    assert path.read_bytes() == b"a"
