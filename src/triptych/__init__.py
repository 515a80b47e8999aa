"""One folder of pictures in, every kind of Stable Diffusion personalisation out, measured on one yardstick."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .app.asked import SampleRequest
    from .app.sample import generate
    from .app.scenes import ScenesRequest
    from .app.session import Session
    from .app.train import TrainRequest
    from .base import Base, Place, open_base, tiny_base
    from .cancel import Cancel, Cancelled
    from .data.concept import Concept
    from .data.examples import Examples
    from .errors import TriptychError
    from .exchange.artifact import Artifact, Part, compose
    from .exchange.formats import load
    from .exchange.saving import save
    from .methods import Depth, Method, method_named
    from .sampling.controls import Controls
    from .sampling.generate import sample
    from .sampling.preview import Preview
    from .sampling.request import Request, Share
    from .study.plan import Plan
    from .training.fit import Fitted, Trial, fit

__version__ = "0.1.0"

_HOME = {
    "Artifact": "exchange.artifact", "Part": "exchange.artifact", "compose": "exchange.artifact",
    "Base": "base", "Place": "base", "open_base": "base", "tiny_base": "base",
    "Cancel": "cancel", "Cancelled": "cancel", "Session": "app.session",
    "Plan": "study.plan", "SampleRequest": "app.asked", "TrainRequest": "app.train",
    "Concept": "data.concept",
    "TriptychError": "errors",
    "load": "exchange.formats", "save": "exchange.saving",
    "Fitted": "training.fit", "Trial": "training.fit", "fit": "training.fit",
    "Request": "sampling.request", "Share": "sampling.request", "Preview": "sampling.preview",
    "ScenesRequest": "app.scenes", "sample": "sampling.generate",
    "Examples": "data.examples",
    "generate": "app.sample", "Controls": "sampling.controls",
    "Method": "methods", "Depth": "methods", "method_named": "methods",
}  # fmt: skip  # where each name lives: imported when first asked for, so that `import triptych` is quick

__all__ = [
    "Artifact", "Base", "Cancel", "Cancelled", "Concept", "Controls", "Depth", "Examples", "Fitted", "Method", "Part",
    "Place", "Plan", "Preview", "Request", "SampleRequest", "ScenesRequest", "Session", "Share", "TrainRequest",
    "Trial", "TriptychError", "__version__", "compose", "fit", "generate", "load", "method_named", "open_base",
    "sample", "save", "tiny_base",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "prompt":  # the one room that is used by its own name
        return import_module(".prompt", __name__)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
