"""The options that remedy an error."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import Remedy

WORDS = {
    Remedy.OTHER_PLACE: "give another --out",
    Remedy.OVERWRITE: "replace it with --overwrite",
    Remedy.RESUME: "go on with --resume",
    Remedy.WAIT: "wait until it ends",
    Remedy.DELETE: "delete it",
    Remedy.SAME_REQUEST: "repeat the command that it was begun with",
    Remedy.AGAIN: "give the same command again, which goes on",
    Remedy.FINISHED_STUDY: "give the --out folder of a finished `triptych try`",
    Remedy.AS_BASE: "give it as --base",
    Remedy.AS_VAE: "give it as --vae",
    Remedy.NAME_BASE: "name that base with --base",
    Remedy.NAME_VAE: "name a file that has one with --vae",
    Remedy.NAME_CLIP: "give --clip FOLDER, or --clip FOLDER,FOLDER where there are two",
    Remedy.ATTACH: "give it as --use FILE",
    Remedy.LIBRARY: "say where it lies with --library DIR",
    Remedy.START: "name it with --from PICTURE",
    Remedy.CLASS_WORD: "say it, as in --class cat",
    Remedy.TOKEN: "choose another with --token",
    Remedy.DEVICE: "try --device cpu",
    Remedy.RESOLUTION: "give another --resolution",
    Remedy.METHODS: "add it to --methods",
    Remedy.UNTIL_DECIDED: "give --until-decided, too",
    Remedy.TRIALS: "give more --trials, or less to learn with -s",
}


def worded(remedies: Iterable[Remedy]) -> str:
    """The remedies as a clause: what to type instead, or besides."""
    return ", or ".join(WORDS[remedy] for remedy in remedies)
