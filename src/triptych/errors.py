"""What can go wrong for a user: one sentence that says what and where, and the remedies."""

from collections.abc import Iterable
from difflib import get_close_matches
from enum import Enum
from typing import Any

SHOWN = 80  # letters of a text out of a file that an error repeats


class Remedy(Enum):
    """What a user can change after an error. Each surface has its own words for it, such as an option."""

    OTHER_PLACE = "write to another place"
    OVERWRITE = "replace what is there"
    RESUME = "resume what was stopped"
    WAIT = "wait until the place is free"
    DELETE = "delete the file"
    SAME_REQUEST = "ask for what was begun there"
    AGAIN = "ask for the same again"
    FINISHED_STUDY = "name the folder of a study"
    AS_BASE = "use the file as the base"
    AS_VAE = "use the file as the autoencoder"
    NAME_BASE = "name the base"
    NAME_VAE = "name a file with an autoencoder"
    NAME_CLIP = "name the CLIP models of the base"
    ATTACH = "attach the file to every picture"
    LIBRARY = "name the folder of a library"
    START = "begin with a picture"
    CLASS_WORD = "say what the pictures show"
    TOKEN = "choose another word"
    DEVICE = "choose another device"
    RESOLUTION = "choose another resolution"
    METHODS = "study the method, too"
    TRIALS = "allow more trials"
    UNTIL_DECIDED = "let the study go on until it is decided"


class TriptychError(Exception):
    """Bad input, or a place that cannot be used. The text is one sentence, one printable line.

    `remedies` are alternatives. The sentence does not contain them.
    """

    def __init__(self, sentence: str, *remedies: Remedy) -> None:
        super().__init__(printable(sentence))
        self.remedies = remedies

    def __reduce__(self) -> tuple[Any, ...]:
        """Between processes it stays as it is, whatever its class is made from."""
        return _made, (type(self), *self.args), vars(self)


def _made(kind: type[TriptychError], *args: object) -> TriptychError:
    """An error without what its class does when it is raised."""
    return kind.__new__(kind, *args)


class OtherBaseError(TriptychError):
    """What was learned fits another kind of base than the one it is opened on."""

    def __init__(self, detail: str, what: str = "this") -> None:
        self.detail, self.what = detail, what
        super().__init__(f"{what} was made for another kind of base: {detail}")


def printable(text: str) -> str:
    """One line of text, with line ends, terminal codes and broken letters escaped."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def shown(text: object) -> str:
    """A name or value out of a file as an error repeats it: not longer than a line bears."""
    whole = text if isinstance(text, str) else repr(text)
    return whole if len(whole) <= SHOWN else f"{whole[: SHOWN - 3]}..."


def first_line(error: BaseException) -> str:
    """What another library says, as far as a sentence bears it; the kind of error where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The near miss, as a clause to end an error with: `; did you mean 'lora'?`, or all there is if none is near."""
    names = sorted(known)
    near = get_close_matches(word, names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(names)}"
