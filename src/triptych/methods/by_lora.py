"""What methods share whose files are LoRAs or relatives of one: LoRA's patch opens them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import asdict, fields
from typing import Any, Generic, TypeVar

from ..base import Base, Owner
from ..patching.patch import Patch, Tensors
from . import Method, Training, method_named

LORA = "lora"
S = TypeVar("S", bound=Training)


class ByLora(Generic[S]):
    """A subclass is also a `Method`, and says what its training starts from."""

    files_as = LORA

    def patch(
        self, base: Base, settings: S, tensors: Tensors, strength: float = 1.0, owner: Owner = None
    ) -> AbstractContextManager[Patch]:
        lora, own = of_method(LORA, settings)
        return lora.patch(base, own, tensors, strength, owner)

    def not_used(self, base: Base, tensors: Tensors) -> list[str]:
        return method_named(LORA).not_used(base, tensors)


def of_method(name: str, settings: Any) -> tuple[Method[Any], Any]:
    """A method, and its settings as far as `settings` has them, too."""
    method = method_named(name)
    names = {entry.name for entry in fields(method.settings_class)}
    return method, method.configure({key: value for key, value in asdict(settings).items() if key in names})
