"""Other packages bring methods, criteria, formats and encoders by entry points, by the rule that finds ours too."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import triptych.exchange.formats
import triptych.methods
import triptych.metrics
import triptych.metrics.encoders
from tests.worlds import FAST, call, learned, look, pictures, trial
from triptych.base import Base
from triptych.errors import TriptychError
from triptych.exchange.formats import formats
from triptych.methods import methods
from triptych.methods.lora import Lora
from triptych.metrics import metrics
from triptych.metrics.encoders import open_encoder
from triptych.plugins import Plugins

KINDS = (triptych.methods, triptych.metrics, triptych.exchange.formats, triptych.metrics.encoders)
PACKAGE = '''"""Both halves of a LoRA start from half of their usual weights."""

import torch

from triptych.exchange.formats import Format
from triptych.methods.lora import Lora
from triptych.metrics import Metric
from triptych.metrics.encoders import Encoder
from triptych.scores import Score


class HalfLora(Lora):
    name = "half-lora"
    title = "Half LoRA"

    def start(self, base, settings, seed):
        return {name: tensor / 2 for name, tensor in super().start(base, settings, seed).items()}


class Darkness(Metric):
    name = "darkness"
    explanation = "How dark the pictures are."
    better = "lower"

    def measure(self, evidence):
        for one in evidence.drawn:
            yield Score(self.name, one.method, 1 - sum(one.open().convert("L").tobytes()) / 255 / 256)


class Nothing(Format):
    name = "nothing"
    kind = "half-lora"
    title = "an empty file"
    suffixes = (".nothing",)
    readers = ("nobody",)

    def recognise(self, file):
        return None

    def read(self, file):
        raise NotImplementedError


class _Nameless(Darkness):
    name = ""


class Mean(Encoder):
    """Sees the mean colour."""

    known_as = name = digest = "mean-colour"

    @classmethod
    def open(cls, path, device):
        return cls()

    def images(self, pictures):
        colours = [one.resize((1, 1)).getpixel((0, 0)) for one in pictures]
        return torch.nn.functional.normalize(torch.tensor(colours).float())
'''
ENTRIES = """
[triptych.methods]
half = {package}:HalfLora
[triptych.metrics]
all = {package}
[triptych.formats]
all = {package}
[triptych.encoders]
all = {package}
"""


def install(folder: Path, package: str, code: str, entries: str) -> None:
    """What an installer leaves behind: the package, and what it says of itself."""
    (folder / f"{package}.py").write_text(code)
    about = folder / f"{package}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(entries.format(package=package))


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A folder on Python's path to install into; no plug-in has been looked for yet."""
    monkeypatch.syspath_prepend(tmp_path)
    for room in KINDS:
        old = room.PLUGINS
        monkeypatch.setattr(room, "PLUGINS", Plugins(old.kind, old.package, old.group, old.name))
    yield tmp_path
    for name in ("triptych_halves", "triptych_bad"):
        sys.modules.pop(name, None)


@pytest.mark.slow
def test_a_package_brings_one_of_each_kind(
    fresh: Path, base: Base, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(fresh, "triptych_halves", PACKAGE, ENTRIES)
    assert call(monkeypatch, "methods", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["half-lora"]["explanation"] == "Both halves of a LoRA start from half of their usual weights."
    monkeypatch.setitem(FAST, "half-lora", {"lr": 2e-3})
    artifact, plain = learned(base, trial("half-lora")), look(base)
    with artifact.apply(base):
        assert not torch.equal(look(base), plain)
    assert set(metrics()) >= {"darkness", "diversity"}
    assert "" not in metrics()
    assert formats()["nothing"].kind == "half-lora"
    assert next(iter(formats())) == "triptych"
    assert open_encoder("mean-colour", "image").images(pictures(3)).shape == (3, 3)


@pytest.mark.parametrize(("code", "entry", "sentence"), [
    ("import nonsense_that_is_not_there", "{package}", "'one' (.*) of triptych_bad cannot be loaded: No module named"),
    ("1 / 0", "{package}", "cannot be loaded: division by zero; update or uninstall it"),
    ("", "{package}", "'one' (.*) of triptych_bad is no Method"),
    ("class Other: name = 'other'", "{package}:Other", "is no Method"),
    ("from triptych.methods.lora import Lora\nclass Mine(Lora): name = 'lora'", "{package}",
     "two plug-ins of triptych.methods are called 'lora': in triptych.methods.lora and in triptych_bad"),
])  # fmt: skip
def test_a_bad_package_is_one_sentence(fresh: Path, code: str, entry: str, sentence: str) -> None:
    install(fresh, "triptych_bad", code, f"[triptych.methods]\none = {entry}\n")
    with pytest.raises(TriptychError, match=sentence):
        methods()


def test_a_class_may_be_a_plugin_for_a_while() -> None:
    class Mine(Lora):
        name = "mine"

    class Again(Lora):
        pass

    with triptych.methods.PLUGINS.added(Mine):
        assert isinstance(methods()["mine"], Mine)
    assert "mine" not in methods()
    with pytest.raises(TriptychError, match="are called 'lora'"), triptych.methods.PLUGINS.added(Again):
        pass
