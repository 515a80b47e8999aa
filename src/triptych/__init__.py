"""One folder of pictures in, every kind of Stable Diffusion personalisation out, measured on one yardstick."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .artifact import Artifact, Part, compose
    from .base import Base, Place, tiny_base
    from .concept import Concept
    from .errors import TriptychError
    from .fit import Fitted, Trial, fit
    from .formats import load
    from .generate import Request, draw
    from .patch import Examples, Method, Stage, methods

__version__ = "0.1.0"

_HOME = {
    "Artifact": "artifact", "Part": "artifact", "compose": "artifact",
    "Base": "base", "Place": "base", "tiny_base": "base",
    "Concept": "concept",
    "TriptychError": "errors",
    "load": "formats",
    "Fitted": "fit", "Trial": "fit", "fit": "fit",
    "Request": "generate", "draw": "generate",
    "Examples": "patch", "Method": "patch", "Stage": "patch", "methods": "patch",
}  # fmt: skip  # where each name lives: imported when first asked for, so that `import triptych` is quick

__all__ = [
    "Artifact", "Base", "Concept", "Examples", "Fitted", "Method", "Part", "Place", "Request", "Stage", "Trial",
    "TriptychError", "__version__", "compose", "draw", "fit", "load", "methods", "tiny_base",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
