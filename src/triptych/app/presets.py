"""A preset: the memory of a graphics card, and the settings by which methods fit it, as the base describes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..base import Base
from ..errors import TriptychError
from ..methods import method_named
from ..settings import Value
from ..units import bytes_of, size


@dataclass(frozen=True)
class Preset:
    """What a preset sets. Without a name it is none, and sets nothing.

    Attributes:
        name: of the preset, which is a size.
        methods: method -> the settings that it sets.
    """

    name: str = ""
    methods: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)

    @classmethod
    def of(cls, base: Base, name: str) -> Preset:
        """The preset of a base called `name`; none for "".

        Raises:
            TriptychError: the base has no such preset.
        """
        known = base.description.presets
        if name and name not in known:
            there = f"preset {name!r}; there are: {', '.join(known)}" if known else "presets for graphics cards"
            raise TriptychError(f"the base {base.name} has no {there}")
        return cls(name, known[name]) if name else cls()

    @property
    def memory(self) -> int | None:
        """The bytes that training may take."""
        return bytes_of(self.name) if self.name else None

    def line(self, method: str, given: Mapping[str, Value], memory: int | None) -> str:
        """What it sets for a training; "" without a preset.

        Args:
            given: the settings that the user gave, which go before its own.
            memory: the bytes that the user gave, which do so too.
        """
        if not self.name:
            return ""
        kind, own = method_named(method), self.methods.get(method, {})
        preset, chosen = kind.configure(own), kind.configure(own, given)
        other = [name for name in own if getattr(chosen, name) != getattr(preset, name)]
        sets = ", ".join(f"{name} {getattr(preset, name)}" for name in own if name not in other)
        kept = ", ".join(f"{name} {getattr(chosen, name)}" for name in other)
        plan = f"a plan for {size(memory or bytes_of(self.name))}"
        return f"preset {self.name} of {method}: {f'{sets}, and ' if sets else ''}{plan}" + (
            f"; as given and not as in the preset: {kept}" if kept else ""
        )
