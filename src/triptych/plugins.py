"""Finds plug-ins: methods, criteria, file formats and encoders, of triptych and of other packages, by one rule.

A plug-in is a class that derives from its kind's base class, is not abstract, and has a name. triptych's own plug-ins
are in the modules of one folder; a new file there is enough. Other packages name theirs by entry points in the kind's
group: such a class, or a module or package with such classes. Nothing is imported before plug-ins of a kind are used.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract, ismodule
from types import ModuleType
from typing import Any, ClassVar, Generic, TypeVar

from .errors import TriptychError, first_line

T = TypeVar("T")


class Plugins(Generic[T]):
    """All plug-ins of one kind, by name: triptych's own in the order of their modules, then those of other packages."""

    _blocks: ClassVar[int] = 0  # of `added` that are entered, for any kind

    def __init__(self, kind: type[Any], package: str, group: str, name: str = "name") -> None:
        """
        Args:
            kind: the base class.
            package: the package whose modules contain triptych's own plug-ins.
            group: the group of entry points for other packages.
            name: the class attribute with a plug-in's name.
        """
        self.kind, self.package, self.group, self.name = kind, package, group, name
        self._classes: dict[str, type[T]] = {}
        self._instances: dict[str, T] = {}

    def classes(self) -> Mapping[str, type[T]]:
        """The classes of all plug-ins, by name.

        Raises:
            TriptychError: an entry point cannot be loaded or is not such a plug-in, or two plug-ins have one name.
        """
        if not self._classes:
            found: dict[str, type[T]] = {}
            for plugin in (*self._own(), *self._others()):
                self._add(found, plugin)
            self._classes = found
        return self._classes

    def instances(self) -> Mapping[str, T]:
        """An instance of each plug-in, for kinds without state and arguments. Raises the errors of `classes`."""
        if not self._instances:
            self._instances = {name: plugin() for name, plugin in self.classes().items()}
        return self._instances

    @contextmanager
    def added(self, *more: type[T]) -> Iterator[None]:
        """Add classes as plug-ins inside the `with` block, for notebooks and tests. Other processes do not know them.

        Raises:
            TriptychError: there is already a plug-in of that name.
        """
        before, found = self.classes(), dict(self.classes())
        for plugin in more:
            self._add(found, plugin)
        self._classes, self._instances = found, {}
        Plugins._blocks += 1
        try:
            yield
        finally:
            Plugins._blocks -= 1
            self._classes, self._instances = dict(before), {}

    @staticmethod
    def all_are_installed() -> bool:
        """Whether another process knows the same plug-ins, of all kinds."""
        return not Plugins._blocks

    def _add(self, found: dict[str, type[T]], plugin: type[T]) -> None:
        name = getattr(plugin, self.name)
        other = found.setdefault(name, plugin)
        if other is not plugin:
            raise TriptychError(
                f"two plug-ins of {self.group} are called {name!r}: in {other.__module__} and in {plugin.__module__}"
            )

    def _own(self) -> Iterator[type[T]]:
        folder = importlib.import_module(self.package).__path__
        for info in sorted(pkgutil.iter_modules(folder), key=lambda info: info.name):
            if not info.ispkg:
                module = importlib.import_module(f"{self.package}.{info.name}")
                yield from self._in(module, module.__name__)

    def _others(self) -> Iterator[type[T]]:
        for entry in entry_points(group=self.group):
            try:
                loaded = entry.load()
            except Exception as error:  # another package's module may raise anything
                raise TriptychError(
                    f"the plug-in {_named(entry)} cannot be loaded: {first_line(error)}; update or uninstall it"
                ) from error
            classes = [*self._in(loaded, loaded.__name__.partition(".")[0])] if ismodule(loaded) else [loaded]
            if not classes or not all(map(self._is_plugin, classes)):
                raise TriptychError(f"the plug-in {_named(entry)} is no {self.kind.__name__}; update or uninstall it")
            yield from classes

    def _in(self, module: ModuleType, root: str) -> Iterator[type[T]]:
        """The plug-ins in a module that are defined within the package `root`."""
        for member in dict.fromkeys(value for value in vars(module).values() if isinstance(value, type)):
            if f"{member.__module__}.".startswith(f"{root}.") and self._is_plugin(member):
                yield member

    def _is_plugin(self, member: Any) -> bool:
        derived = isinstance(member, type) and issubclass(member, self.kind) and not isabstract(member)
        return derived and bool(getattr(member, self.name, ""))


def _named(entry: EntryPoint) -> str:
    return f"{entry.name!r} ({entry.value}) of {entry.dist.name if entry.dist else 'an unknown package'}"
