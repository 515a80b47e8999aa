"""What a check of a folder can find: each kind with its title, and what a cleaned copy does about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Action(Enum):
    """What a cleaned copy does with a picture."""

    LEAVE_OUT = "left out"
    CROP = "bars cut off"
    RENAME = "given the suffix of its format"
    DROP_CAPTION = "caption left out"
    KEEP = "kept"


@dataclass(frozen=True)
class Fault:
    """A kind of finding: its title on the page, and what a cleaned copy does about it."""

    title: str
    action: Action = Action.KEEP


FAULTS: Mapping[str, Fault] = {
    "unreadable": Fault("cannot be read", Action.LEAVE_OUT),
    "truncated": Fault("ends too early", Action.LEAVE_OUT),
    "copy": Fault("the same file twice", Action.LEAVE_OUT),
    "near-copy": Fault("nearly the same picture", Action.LEAVE_OUT),
    "small": Fault("too small", Action.LEAVE_OUT),
    "blurred": Fault("blurred", Action.LEAVE_OUT),
    "empty": Fault("nothing to see", Action.LEAVE_OUT),
    "dark": Fault("under-exposed"),
    "light": Fault("over-exposed"),
    "compressed": Fault("compressed too much", Action.LEAVE_OUT),
    "wide": Fault("extreme shape"),
    "bars": Fault("bars at the border", Action.CROP),
    "overlay": Fault("the same mark in many pictures"),
    "suffix": Fault("suffix of another format", Action.RENAME),
    "foreign": Fault("unlike the other pictures", Action.LEAVE_OUT),
    "wrong-caption": Fault("the caption says something else", Action.DROP_CAPTION),
    "no-caption": Fault("no caption"),
    "long-caption": Fault("caption is cut"),
    "same-captions": Fault("captions are all the same"),
    "trait-in-captions": Fault("captions name what should be learned"),
    "few": Fault("few pictures"),
    "alike": Fault("pictures are too alike"),
}


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        fault: a key of `FAULTS`.
        said: a clause with the measured value, or with the other file.
        file: the name of the file; "" if it is the whole folder.
        value: what was measured; 0.0 if nothing was.
    """

    fault: str
    said: str
    file: str = ""
    value: float = 0.0

    @property
    def action(self) -> Action:
        return FAULTS[self.fault].action

    def __str__(self) -> str:
        return f"{self.file}: {self.said}" if self.file else self.said
