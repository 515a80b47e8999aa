"""Mixes of LoRAs, differences, embeddings and hypernetworks: a mix does to a base what its files do together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.worlds import look
from triptych.base import Base, generator, tiny_base
from triptych.base.opening.difference import nearest_of_rank
from triptych.errors import TriptychError
from triptych.exchange.artifact import Artifact, Part, compose
from triptych.exchange.formats import open_artifact
from triptych.exchange.saving import save
from triptych.methods import method_named
from triptych.mixing.adapters import needs_base
from triptych.mixing.foretelling import overlaps_of
from triptych.mixing.low_rank import Factors, Ranks, reduced, summed
from triptych.mixing.merge import WAYS, merge
from triptych.mixing.opening import KINDS
from triptych.mixing.recipe import read_recipe
from triptych.mixing.request import Ingredient, Mix


def lora(path: Path, base: Base, seed: int, rank: int = 3, alpha: float = 2.0, to: str = "kohya-lora") -> Path:
    method = method_named("lora")
    settings = method.configure({"rank": rank, "alpha": alpha})
    random = generator("test lora", seed)
    tensors = {
        name: 0.3 * torch.randn(tensor.shape, generator=random)
        for name, tensor in method.start(base, settings, seed).items()
    }
    save(Artifact("lora", settings, tensors, {"says": f"word{seed}"}), path, to=to, base=base)
    return path


def of(*files: Path, weights: tuple[float | None, ...] = (), **more: Any) -> Mix:
    given = weights or (None,) * len(files)
    return Mix(tuple(Ingredient(path, w) for path, w in zip(files, given, strict=True)), **more)


def seen(base: Base, *files: Path, strengths: tuple[float, ...] = ()) -> Tensor:
    given = strengths or (1.0,) * len(files)
    with compose(base, *(Part(open_artifact(path), s) for path, s in zip(files, given, strict=True))):
        return look(base)


@pytest.fixture
def base() -> Base:
    return tiny_base()


@pytest.fixture
def two(base: Base, tmp_path: Path) -> tuple[Path, Path]:
    first = lora(tmp_path / "a.safetensors", base, 1)
    return first, lora(tmp_path / "b.safetensors", base, 2, rank=2, alpha=5.0)


def test_a_sum_of_loras_is_both_attached(base: Base, two: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "o.safetensors"
    merge(of(*two, weights=(0.7, -0.4)), out)
    attached, alone = seen(base, *two, strengths=(0.7, -0.4)), look(base)
    assert torch.allclose(seen(base, out), attached, atol=1e-5)
    assert float((attached - alone).abs().max()) > 0.01
    assert open_artifact(out).settings.rank == 5
    assert open_artifact(out).provenance["says"] == "word1, word2"


def test_products_are_summed_never_factors(two: tuple[Path, Path], tmp_path: Path) -> None:
    """Tools that scale both factors by the root of a weight and add them get B1 A2 and B2 A1 besides."""
    out = tmp_path / "o.safetensors"
    merge(of(*two, weights=(0.5, 0.5)), out)
    a, b, mixed = (load_file(path) for path in (*two, out))
    key = next(name for name in a if name.endswith("attn2_to_k.lora_up.weight")).removesuffix(".lora_up.weight")

    def change(file: dict[str, Tensor]) -> Tensor:
        up, down = file[f"{key}.lora_up.weight"], file[f"{key}.lora_down.weight"]
        return up @ down * float(file[f"{key}.alpha"]) / len(down)

    exact = 0.5 * change(a) + 0.5 * change(b)
    assert torch.allclose(change(mixed), exact, atol=1e-6)
    rank = 2  # of both, as those tools need
    up = sum(0.5**0.5 * file[f"{key}.lora_up.weight"][:, :rank] for file in (a, b))
    down = sum(0.5**0.5 * file[f"{key}.lora_down.weight"][:rank] for file in (a, b))
    assert not torch.allclose(up @ down, exact, atol=0.05)


def test_a_lora_is_resized_to_the_nearest_of_its_rank(base: Base, two: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "o.safetensors"
    mixed = merge(of(two[0], rank=1), out)
    before, after = open_artifact(two[0]), open_artifact(out)
    kept = whole = 0.0
    for name in (name for name in before.tensors if name.endswith("lora_A.weight")):
        other = name.replace("lora_A", "lora_B")
        change = before.tensors[other] @ before.tensors[name] * 2 / 3
        sizes = torch.linalg.svdvals(change.double())
        best = torch.linalg.svd(change)
        nearest = best.U[:, :1] * best.S[:1] @ best.Vh[:1]
        assert torch.allclose(after.tensors[other] @ after.tensors[name], nearest, atol=1e-5)
        kept, whole = kept + float(sizes[0] ** 2), whole + float(sizes.square().sum())
    assert any(f"of rank 1 keeps {kept / whole:.1%} of the energy" in note for note in mixed.notes)


def test_a_dynamic_rank_keeps_the_energy_of_every_layer(two: tuple[Path, Path], tmp_path: Path) -> None:
    merge(of(two[0], settings={"energy": 0.9}), tmp_path / "o.safetensors")
    before, after = load_file(two[0]), load_file(tmp_path / "o.safetensors")
    ranks = set()
    for key in (name for name in before if name.endswith("lora_down.weight")):
        sizes = torch.linalg.svdvals((before[key.replace("lora_down", "lora_up")] @ before[key]).double()).square()
        shares = sizes.cumsum(0) / sizes.sum()
        wanted = int((shares < 0.9).sum()) + 1
        assert len(after[key]) == wanted
        ranks.add(wanted)
    assert len(ranks) > 1
    squares = torch.tensor([100.0, 26.0, 24.0, 1.0])
    assert Ranks(ratio=2.0).of(squares) == 2 and Ranks(most=1, ratio=2.0).of(squares) == 1
    assert Ranks().of(torch.zeros(3)) == 1


def test_the_small_decomposition_is_that_of_the_product() -> None:
    random = torch.Generator().manual_seed(1)
    a, b = torch.randn(4, 6, 3, 3, generator=random), torch.randn(9, 4, 1, 1, generator=random)
    found = reduced(summed([(a, b, 0.5), (a[:2], b[:, :2], -1.5)]), Ranks(3))
    dense = 0.5 * b.flatten(1) @ a.flatten(1) - 1.5 * b[:, :2].flatten(1) @ a[:2].flatten(1)
    down, up, squares = nearest_of_rank(dense, 3)
    assert torch.allclose((found.b @ found.a.flatten(1)).double(), up @ down, atol=1e-4)
    assert found.retained == pytest.approx(float(squares.sum()), rel=1e-5)
    assert found.whole == pytest.approx(float(dense.square().sum()), rel=1e-5)
    assert isinstance(found, Factors) and found.a.shape == (3, 6, 3, 3)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["slerp", "ties", "dare", "della", "model-stock"])
def test_a_formula_acts_on_changes_of_weights(base: Base, two: tuple[Path, Path], method: str, tmp_path: Path) -> None:
    """The same LoRA with other factors (A -> G A, B -> B G^-1) gives the same mix."""
    artifact = open_artifact(two[0])
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(4))).Q * 1.7
    turned = {
        name: turn @ t if "lora_A" in name else t @ torch.linalg.inv(turn) for name, t in artifact.tensors.items()
    }
    other = tmp_path / "turned.safetensors"
    save(Artifact("lora", artifact.settings, turned), other, to="kohya-lora", base=base)
    found = []
    for place, first in enumerate((two[0], other)):
        out = tmp_path / f"o{place}.safetensors"
        merge(of(first, two[1], method=method, settings={"density": 0.5, "seed": 1}), out)
        found.append(seen(base, out))
    assert torch.allclose(*found, atol=1e-4)


def test_slerp_of_a_lora_with_itself_is_itself(base: Base, two: tuple[Path, Path], tmp_path: Path) -> None:
    merge(of(two[0], two[0], method="slerp"), tmp_path / "o.safetensors")
    assert torch.allclose(seen(base, tmp_path / "o.safetensors"), seen(base, two[0]), atol=1e-5)


@pytest.mark.slow
def test_a_relative_of_lora_is_mixed_whole_or_by_rank(base: Base, two: tuple[Path, Path], tmp_path: Path) -> None:
    """A Kronecker LoRA needs the weights that it is for, and a sum with it is exact where no rank is asked for."""
    path, out = tmp_path / "kron.safetensors", tmp_path / "o.safetensors"
    layer, place = next((n, m) for n, m in base.denoiser.chosen(("to_k",)) if "attn2" in n)
    rows, columns = place.weight.shape
    name = f"lora_unet_{layer.replace('.', '_')}"
    random = torch.Generator().manual_seed(8)
    save_file(
        {f"{name}.lokr_w1": torch.randn(2, 2, generator=random),
         f"{name}.lokr_w2": torch.randn(rows // 2, columns // 2, generator=random)}, path,
    )  # fmt: skip
    with pytest.raises(TriptychError, match="holds LoKr, whose change needs the weights of a base"):
        merge(of(two[0], path), out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("triptych.mixing.merge._cpu", lambda source: base)
        merge(of(two[0], path, base="tiny"), out)
        attached = seen(base, two[0], path)
        assert torch.allclose(seen(base, out), attached, atol=1e-5)
        mixed = merge(of(two[0], path, base="tiny", rank=2), out, overwrite=True)
    assert any("keeps" in note for note in mixed.notes)
    assert not torch.allclose(seen(base, out), attached, atol=1e-3)


@pytest.mark.slow
def test_differences_are_summed(base: Base, tmp_path: Path) -> None:
    files = []
    for seed in (1, 2):
        random = generator("test difference", seed)
        tensors = {
            name: (0.05 * torch.randn(w.shape, generator=random)).half()
            for name, w in base.denoiser.parameters().items()
        }
        files.append(tmp_path / f"{seed}.safetensors")
        save(Artifact("dreambooth", method_named("dreambooth").configure(), tensors), files[-1])
    merge(of(*files, weights=(0.5, 0.5)), tmp_path / "o.safetensors")
    assert torch.allclose(seen(base, tmp_path / "o.safetensors"), seen(base, *files, strengths=(0.5, 0.5)), atol=1e-3)
    taken = merge(of(files[0], method="extract", rank=64), tmp_path / "l.safetensors")
    assert "keeps" in taken.notes[0]
    artifact = open_artifact(tmp_path / "l.safetensors")
    assert artifact.method == "lora"


def word(path: Path, base: Base, seed: int, vectors: int) -> Path:
    random = generator("test word", seed)
    tensors = {
        text.embedding: torch.randn(vectors, text.table.weight.shape[1], generator=random) for text in base.texts
    }
    settings = method_named("textual-inversion").configure({"vectors": vectors, "token": f"<w{seed}>"})
    save(Artifact("textual-inversion", settings, tensors), path)
    return path


def test_embeddings_are_averaged_or_concatenated(base: Base, tmp_path: Path) -> None:
    a, b, c = (word(tmp_path / f"{n}.safetensors", base, n, vectors) for n, vectors in ((1, 2), (2, 2), (3, 1)))
    rows = [open_artifact(path).tensors["emb_params"] for path in (a, b, c)]
    merge(of(a, b, weights=(0.25, 0.75)), tmp_path / "o.safetensors")
    assert torch.allclose(
        open_artifact(tmp_path / "o.safetensors").tensors["emb_params"], 0.25 * rows[0] + 0.75 * rows[1]
    )
    merge(of(a, c, b, method="concatenate"), tmp_path / "p.safetensors")
    found = open_artifact(tmp_path / "p.safetensors")
    assert torch.equal(found.tensors["emb_params"], torch.cat([rows[0], rows[2], rows[1]]))
    assert found.settings.vectors == 5 and found.settings.token == "<w1>"
    with pytest.raises(TriptychError, match=r"same number of vectors in each \(1\.safetensors 2, 3\.safetensors 1\)"):
        merge(of(a, c), tmp_path / "q.safetensors")


def net(path: Path, base: Base, seed: int, **settings: Any) -> Path:
    method = method_named("hypernetwork")
    chosen = method.configure({"spread": 0.3, **settings})
    random = generator("test net", seed)
    tensors = {
        name: tensor + 0.2 * torch.randn(tensor.shape, generator=random)
        for name, tensor in method.start(base, chosen, seed).items()
    }
    save(Artifact("hypernetwork", chosen, tensors), path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_chain_of_hypernetworks_is_both_attached(base: Base, suffix: str, tmp_path: Path) -> None:
    a, b = net(tmp_path / "a.safetensors", base, 1), net(tmp_path / "b.safetensors", base, 2, layers="1,2,2,1")
    out = tmp_path / f"o{suffix}"
    merge(of(a, b, weights=(0.8, 0.6)), out)
    assert torch.allclose(seen(base, out), seen(base, a, b, strengths=(0.8, 0.6)), atol=1e-5)
    assert not torch.allclose(seen(base, out), seen(base, b, a, strengths=(0.6, 0.8)), atol=1e-5)
    assert (tmp_path / "o.toml").is_file() == (suffix == ".pt")


def test_a_chain_that_the_format_cannot_hold_is_refused(base: Base, tmp_path: Path) -> None:
    a, b = net(tmp_path / "a.safetensors", base, 1), net(tmp_path / "b.safetensors", base, 2, activation="relu")
    with pytest.raises(TriptychError, match=r"b\.safetensors has the activation relu"):
        merge(of(a, b), tmp_path / "o.safetensors")


def test_what_does_not_go_together_is_refused(base: Base, two: tuple[Path, Path], tmp_path: Path) -> None:
    a, out = word(tmp_path / "w.safetensors", base, 1, 2), tmp_path / "o.safetensors"
    for mix, words in (
        (of(two[0], a), r"a\.safetensors \(lora\) and w\.safetensors \(textual-inversion\) cannot be mixed"),
        (of(two[0]), "alone is no mix.*resized"),
        (of(*two, method="tise"), "did you mean 'ties'"),
        (of(*two, method="cosine"), "cosine does not mix files of the kind lora"),
        (of(*two, settings={"densty": 0.3}), "did you mean 'density'"),
        (of(*two, two[0], method="slerp"), "slerp mixes two files, and 3 are given"),
        (of(*two, method="extract"), "extract does not mix files of the kind lora"),
        (of(*two, settings={"blocks": "1,2"}), "family of these files is not known"),
    ):
        with pytest.raises(TriptychError, match=words):
            merge(mix, out)
    with pytest.raises(TriptychError, match=r"must end in \.safetensors"):
        merge(of(*two), tmp_path / "o.ckpt")
    assert not out.exists()


def test_settings_that_are_not_read_are_said(two: tuple[Path, Path], tmp_path: Path) -> None:
    mixed = merge(of(*two, settings={"density": 0.5}, vae="x.safetensors"), tmp_path / "o.safetensors")
    assert "density is not used by weighted-sum" in mixed.notes
    assert any("autoencoder is for checkpoints" in note for note in mixed.notes)
    mixed = merge(of(*two, settings={"drop": 0.5}, base="nowhere"), tmp_path / "p.safetensors")
    assert "drop is not used by weighted-sum" in mixed.notes  # its default, but the user gave it
    assert any("the base is not used" in note for note in mixed.notes)


def test_blocks_that_are_not_read_change_nothing(two: tuple[Path, Path], tmp_path: Path) -> None:
    merge(of(*two, method="ties"), tmp_path / "o.safetensors")
    mixed = merge(of(*two, method="ties", settings={"blocks": "1,2"}), tmp_path / "p.safetensors")
    assert "blocks is not used by ties" in mixed.notes
    one, other = load_file(tmp_path / "o.safetensors"), load_file(tmp_path / "p.safetensors")
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_whole_changes_stay_whole_in_every_way(tmp_path: Path) -> None:
    """A layer without a rank is no smaller as factors."""
    for seed in (1, 2):
        random = torch.Generator().manual_seed(seed)
        block = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to"
        tensors = {f"{block}_{letter}.diff": torch.randn(6, 8, generator=random) for letter in "kv"}
        save_file(tensors, tmp_path / f"{seed}.safetensors")
    mixed = merge(of(*(tmp_path / f"{s}.safetensors" for s in (1, 2)), method="ties"), tmp_path / "o.safetensors")
    assert [key.rpartition(".")[2] for key in load_file(tmp_path / "o.safetensors")] == ["diff", "diff"]
    assert any("2 layers of no low rank" in note for note in mixed.notes)


def test_numbers_that_no_mix_has_are_refused(tmp_path: Path) -> None:
    for text, words in (
        ("[[ingredient]]\nfile = 'a'\nweight = nan\n", "the weight of a is a number, not nan"),
        ("rank = -3\n[[ingredient]]\nfile = 'a'\n", "a rank is 0 .* or more, not -3"),
        ("precision = 'fp61'\n[[ingredient]]\nfile = 'a'\n", "no precision 'fp61'; did you mean 'fp16'"),
    ):
        (tmp_path / "merge.toml").write_text(text)
        with pytest.raises(TriptychError, match=words):
            read_recipe(tmp_path / "merge.toml")
    with pytest.raises(TriptychError, match="a mix is made of files"):
        Mix(())


def test_what_cannot_overlap_is_refused(base: Base, two: tuple[Path, Path], tmp_path: Path) -> None:
    narrow = {key: tensor[..., :4] if "lora_down" in key else tensor for key, tensor in load_file(two[1]).items()}
    save_file({key: tensor.contiguous() for key, tensor in narrow.items()}, tmp_path / "narrow.safetensors")
    with pytest.raises(TriptychError, match=r"narrow\.safetensors does not match a\.safetensors: the layer"):
        overlaps_of(of(two[0], tmp_path / "narrow.safetensors"))
    (tmp_path / "x").mkdir()
    with pytest.raises(TriptychError, match="of different names"):
        overlaps_of(of(*two, lora(tmp_path / "x" / "a.safetensors", base, 3)))


def test_differences_need_no_base(base: Base, tmp_path: Path) -> None:
    made = Artifact("dreambooth", method_named("dreambooth").configure(), {"unet.conv_in.bias": torch.ones(8)})
    assert not needs_base(made) and not needs_base(open_artifact(lora(tmp_path / "a.safetensors", base, 1)))


@pytest.mark.slow
def test_a_wrong_merge_is_refused_before_anything_heavy_is_loaded(two: tuple[Path, Path], tmp_path: Path) -> None:
    word = tmp_path / "word.pt"
    torch.save({"string_to_param": {"*": torch.zeros(1, 8)}, "name": "word"}, word)
    code = (
        "import sys; from pathlib import Path; from triptych.cli.mixing import merge\n"
        "for files in (sys.argv[1:2] + ['none.safetensors'], sys.argv[1:]):\n"
        "    try: merge(files=files, out=Path('new.safetensors'))\n"
        "    except Exception as error: print(error)\n"
        "print('torch' in sys.modules)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(two[0]), str(word)], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    missing, kinds, loaded = told.stdout.splitlines()
    assert missing == "there is no file none.safetensors"
    assert kinds.startswith("a.safetensors (lora) and word.pt (textual-inversion) cannot be mixed")
    assert loaded == "False"


def test_every_kind_has_its_ways() -> None:
    assert set(WAYS) == {*KINDS, "baking"}
