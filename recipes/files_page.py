"""`python -m recipes.files_page`: writes docs/files.md, what is read and written, from the formats themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from triptych.exchange.formats import Format, formats
from triptych.families import families
from triptych.files.checkpoint import VARIANTS
from triptych.files.library import PLACES

PAGE = Path(__file__).parents[1] / "docs" / "files.md"
KINDS = {
    "checkpoint": "Checkpoints", "vae": "Autoencoders", "lora": "LoRA and its relatives",
    "textual-inversion": "Embeddings", "hypernetwork": "Hypernetworks", "aesthetic-gradients": "Aesthetic embeddings",
    "any": "Every method",
}  # fmt: skip
HEAD = """\
# Files

*This page is written by `python -m recipes.files_page` from the code of the formats; a test holds it to that.*

    triptych inspect FILE...                  # what it is, by its header alone; a folder gives a table
    triptych convert FILE --to FORMAT --out FILE
    triptych generate PROMPT --use FILE:0.8   # attach a file of any tool
    triptych generate "<lora:name:0.8> a cat" --library DIR
    triptych try FOLDER --base FILE           # a checkpoint as the base

`triptych.load(FILE)` gives an `Artifact` or a `Base`; `artifact.apply(base, strength)` attaches it, and
`triptych.save(artifact, FILE, to=FORMAT)` writes it. Nothing is downloaded unless the name of a base is a hub id.

## What is read

A file is recognised by its content, whatever it is called, and nothing in it is run. Pickles (`.pt`, `.ckpt`, `.bin`)
are not unpickled: triptych follows their opcodes itself and makes tensors from the bytes that these point to.

* Read: tensors, plain values, tables of any class (`OrderedDict`, `ParameterDict`), the parameters of pickled modules,
  NumPy's numbers and arrays, storages of any device.
* Left out, counted and said: objects of other classes (Lightning's callbacks and settings, schedulers, dates), and the
  state of an optimiser. `triptych inspect` has them under "left out".
* Refused, with "do not load it anywhere": what would run something in a program that unpickles the file. That is any
  name of the standard library but for plain values, of a module that loads code, and any function that is called.

The `.pt` files that triptych writes have the records that torch 1.13 wrote and ask for nothing that A1111's checker
does not allow. The same content gives the same bytes, in `.pt` and in `.safetensors`.
"""
LIBRARY = """
## Library folders

`--library DIR` looks for files in these folders of DIR, with their sub-folders, in those that `extra_model_paths.yaml`
names, or, where there are none, in DIR itself.

| kind | folders |
|---|---|
"""


BASES = """
## Bases

`--base` takes a diffusers folder, a checkpoint file in the original layout (`.safetensors`, `.ckpt`), or a hub id. What
a file is, is told by the names and shapes in its header; configurations and CLIP's vocabulary come with the package.
`--vae FILE` takes another autoencoder, `--ema` the averaged weights; `--prediction epsilon|v` corrects what it says.

| family | text encoders in a checkpoint | opened | written |
|---|---|---|---|
"""
SAID = {"sd1": "Stable Diffusion 1.x", "sd2": "Stable Diffusion 2.x (noise or velocity)", "sdxl": "SDXL base"}


def page() -> str:
    """The whole page as Markdown."""
    return HEAD + _bases() + "".join(_section(kind, title) for kind, title in KINDS.items()) + _library()


def _bases() -> str:
    rows = [
        f"| {SAID[family.name]} | {', '.join(f'`{text.prefix}`' for text in family.texts)} "
        "| folder, file | folder, file |\n"
        for family in families().values()
        if family.prefix
    ]
    variants = [f"{name} ({channels} channels)" for channels, name in VARIANTS.items() if name]
    return (
        f"{BASES}{''.join(rows)}\nRecognised, and refused with a sentence: {', '.join(variants)}, the SDXL refiner.\n"
    )


def _section(kind: str, title: str) -> str:
    rows = [_row(one) for one in formats().values() if one.kind == kind]
    if not rows:
        return ""
    head = "| format | holds | files | written | read by | not held |\n|---|---|---|---|---|---|\n"
    return f"\n## {title}\n\n{head}{''.join(rows)}"


def _row(one: Format) -> str:
    cells = (
        f"`{one.name}`", one.title, ", ".join(f"`{suffix}`" for suffix in one.suffixes), "yes" if one.writes else "no",
        ", ".join(one.readers), one.loses,
    )  # fmt: skip
    return f"| {' | '.join(cells)} |\n"


def _library() -> str:
    def rows() -> Iterator[str]:
        for kind, places in PLACES.items():
            yield f"| {kind} | {', '.join(f'`{place}`' for place in places)} |\n"

    return LIBRARY + "".join(rows())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
