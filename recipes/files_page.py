"""`python -m recipes.files_page`: writes docs/files.md, what is read and written, from the formats themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from triptych.exchange.formats import Format, formats
from triptych.exchange.lora_files import READ_OTHERWISE
from triptych.families import families
from triptych.files.checkpoint import MASKED, VARIANTS
from triptych.files.library import PLACES

OTHER = "other-family"  # recognised, to be refused by name
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


PROGRAMS = {  # whose own code was run on files of a layout: its version, and the commit it was taken from
    "A1111": ("1.10.1", "82a973c04367123ae98bd9abdf80d9eda9b910e2"),
    "ComfyUI": ("May 2026", "aa9d2fc713664e9ffe37763f4c9240c0c3eda667"),
    "kohya": ("sd-scripts, February 2026", "48d368fa557731ad0488c07304dfeba8c07910eb"),
    "diffusers": ("0.42.1", ""), "peft": ("0.21.2", ""), "LyCORIS": ("4.1.3", ""),
}  # fmt: skip
LAYOUTS = """
## Layouts

"Checked with" names the programs whose own code last read such files, or wrote them, with the same result as here: the
same change of each weight, the same vectors. Those with a commit were run apart; the others are packages that the tests
run. What a file has that is not used is said, a line each, by `inspect`, `convert` and `generate`.

| layout | of | read | written | checked with |
|---|---|---|---|---|
"""
KINDS_OF_CHANGE = """
### Who applies what in kohya's layout

A file in this layout may hold more than LoRA, and programs differ in what they make of it. On layers of 12 to 16 and of
16 to 16, linear and 3 x 3 convolutions, at strengths 1 and 0.5, with an alpha that is not the rank, their own code was
compared with the change of the weight here. What is not named below is the same to the last digits of float32: LoRA,
LoHa, LoKr, full changes. `convert --to kohya` says it of a file that has such layers.

| kind | what differs |
|---|---|
"""
LOSES = """
When a file is converted, what its source says of itself (`ss_` entries, author, licence, description, tags) is kept; a
`.pt` file and a diffusers folder have no place for it, which is said. No word to say is written that the file did not
state, and no setting of a training that is not known.
"""


def page() -> str:
    """The whole page as Markdown."""
    sections = "".join(_section(kind, title) for kind, title in KINDS.items())
    return HEAD + _bases() + _layouts() + sections + _library()


def _layouts() -> str:
    rows = [
        f"| `{one.name}` | {one.kind} | {'no' if one.name == OTHER else 'yes'} | {'yes' if one.writes else 'no'} | "
        f"{', '.join(map(_program, one.checked)) or 'our own tests'} |\n"
        for one in sorted(formats().values(), key=lambda one: list(KINDS).index(one.kind))
    ]
    return LAYOUTS + "".join(rows) + LOSES


def _program(name: str) -> str:
    version, commit = PROGRAMS[name]
    return f"{name} {version} (`{commit[:12]}`)" if commit else f"{name} {version}"


def _bases() -> str:
    rows = [
        f"| {SAID[family.name]} | {', '.join(f'`{text.prefix}`' for text in family.texts)} "
        "| folder, file | folder, file |\n"
        for family in families().values()
        if family.prefix
    ]
    variants = [f"{name} ({channels} channels)" for channels, name in VARIANTS.items() if name not in ("", MASKED)]
    return (
        f"{BASES}{''.join(rows)}\nTheir bases for inpainting (9 channels) open, too, and sample; "
        f"they are not trained on. Recognised, and refused with a sentence: {', '.join(variants)}, the SDXL refiner.\n"
    )


def _section(kind: str, title: str) -> str:
    rows = [_row(one) for one in formats().values() if one.kind == kind]
    if not rows:
        return ""
    head = "| layout | holds | files | read by | not held |\n|---|---|---|---|---|\n"
    return f"\n## {title}\n\n{head}{''.join(rows)}{_kinds_of_change() if kind == 'lora' else ''}"


def _kinds_of_change() -> str:
    return KINDS_OF_CHANGE + "".join(f"| {kind} | {differs} |\n" for kind, differs in READ_OTHERWISE.items())


def _row(one: Format) -> str:
    cells = (
        f"`{one.name}`", one.title, ", ".join(f"`{suffix}`" for suffix in one.suffixes), ", ".join(one.readers) or "-",
        one.loses or "-",
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
