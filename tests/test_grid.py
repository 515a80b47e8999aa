"""The jobs of a sweep: every combination, each with a name of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from triptych.app.grid import Wanted, grid, names, read_jobs
from triptych.errors import TriptychError

CAT, DOG = Path("cat"), Path("dog")


def test_every_combination_once() -> None:
    found = grid([CAT, DOG], ["lora"], [("rank", "4,8"), ("lr", "1e-4,3e-4,1e-3")], [0, 1])
    assert len(found) == 2 * 2 * 3 * 2
    assert {one.settings["rank"] for one in found} == {4, 8}
    assert len(set(names(found))) == len(found)
    assert names(found)[0] == "cat_lora_rank=4_lr=0.0001_seed=0"


def test_a_setting_is_for_the_methods_that_have_it() -> None:
    given = [("rank", "4,8"), ("lora.lr", "1e-3"), ("lr", "1e-4"), ("layers", "1,2,1|1,2,2,1")]
    found = grid([CAT], ["lora", "hypernetwork"], given, [0])
    assert [one.settings for one in found] == [
        {"rank": 4, "lr": 1e-3}, {"rank": 8, "lr": 1e-3},
        {"lr": 1e-4, "layers": "1,2,1"}, {"lr": 1e-4, "layers": "1,2,2,1"},
    ]  # fmt: skip
    assert names(found) == [
        "lora_rank=4", "lora_rank=8", "hypernetwork_layers=1_2_1", "hypernetwork_layers=1_2_2_1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("methods", "given", "why"),
    [
        (["lorra"], [], "did you mean 'lora'"),
        (["lora"], [("rnak", "4")], "no method of the sweep has a setting 'rnak'; did you mean 'rank'"),
        (["lora"], [("hypernetwork.lr", "4")], "which is not swept"),
        (["lora"], [("rank", "4,x")], "rank must be a whole number"),
        (["lora"], [("rank", "")], "rank must be a whole number"),
    ],
)
def test_bad_grids_are_sentences(methods: list[str], given: list[tuple[str, str]], why: str) -> None:
    with pytest.raises(TriptychError, match=why):
        grid([CAT], methods, given, [0])  # type: ignore[arg-type]


def test_the_same_job_twice_is_refused() -> None:
    with pytest.raises(TriptychError, match="two jobs of the sweep are the same"):
        names([Wanted("lora", CAT), Wanted("lora", CAT)])


def test_a_list_of_jobs(tmp_path: Path) -> None:
    path = tmp_path / "jobs.toml"
    path.write_text(
        '[[job]]\nmethod = ["lora", "hypernetwork"]\nfolder = "cat"\nsettings = { lr = [1e-4, 2e-4] }\n'
        '[[job]]\nmethod = "lora"\nfolder = "/dogs"\nseed = [1, 2]\n'
    )
    found = read_jobs(path)
    assert [(one.method, one.folder, one.seed) for one in found] == [
        *[("lora", tmp_path / "cat", 0)] * 2, *[("hypernetwork", tmp_path / "cat", 0)] * 2,
        ("lora", Path("/dogs"), 1), ("lora", Path("/dogs"), 2),
    ]  # fmt: skip
    for text, why in {
        "": "must hold jobs",
        "[[job]]\nmethod = 'lora'": "names no folder",
        "[[job]]\nmethod = 'lora'\nfolder = 'a'\nrank = 3": "unknown entry 'rank'",
        "[[job]]\nmethod = 'lora'\nfolder = 'a'\nsettings = { rnak = 3 }": "no setting 'rnak'",
        "[[job": "cannot read",
    }.items():
        path.write_text(text)
        with pytest.raises(TriptychError, match=why):
            read_jobs(path)
