"""One rule by which methods, criteria, file formats and encoders are found, those of other packages too.

A plug-in is a class that derives from its kind's base class, is not abstract, and has a name. Ours lie in the modules
of one folder: a file dropped there is all it takes. Those of other packages are what the entry points of the kind's
group name: such a class, or a module or package of them. Nothing is imported before a kind is asked for.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract, ismodule
from types import ModuleType
from typing import Any, Generic, TypeVar

from .errors import TriptychError, first_line

T = TypeVar("T")


class Plugins(Generic[T]):
    """All plug-ins of one kind, by name: ours in the order of their modules, then those of other packages."""

    def __init__(self, kind: type[Any], package: str, group: str, name: str = "name") -> None:
        """
        Args:
            kind: the base class.
            package: the package whose modules are ours.
            group: of the entry points of others.
            name: the class attribute that holds a plug-in's name.
        """
        self.kind, self.package, self.group, self.name = kind, package, group, name
        self._classes: dict[str, type[T]] = {}
        self._instances: dict[str, T] = {}

    def classes(self) -> Mapping[str, type[T]]:
        """
        Raises:
            TriptychError: a package's entry point cannot be loaded or is no such plug-in, or two have one name.
        """
        if not self._classes:
            found: dict[str, type[T]] = {}
            for one in (*self._ours(), *self._others()):
                self._add(found, one)
            self._classes = found
        return self._classes

    def instances(self) -> Mapping[str, T]:
        """One of each, for kinds whose plug-ins keep nothing and are made without arguments; raises as `classes`."""
        if not self._instances:
            self._instances = {name: one() for name, one in self.classes().items()}
        return self._instances

    @contextmanager
    def added(self, *more: type[T]) -> Iterator[None]:
        """Some classes are plug-ins too for as long as the block lasts: for notebooks and tests.

        Raises:
            TriptychError: one of that name is there already.
        """
        before, found = self.classes(), dict(self.classes())
        for one in more:
            self._add(found, one)
        self._classes, self._instances = found, {}
        try:
            yield
        finally:
            self._classes, self._instances = dict(before), {}

    def _add(self, found: dict[str, type[T]], one: type[T]) -> None:
        name = getattr(one, self.name)
        there = found.setdefault(name, one)
        if there is not one:
            raise TriptychError(
                f"two plug-ins of {self.group} are called {name!r}: in {there.__module__} and in {one.__module__}"
            )

    def _ours(self) -> Iterator[type[T]]:
        folder = importlib.import_module(self.package).__path__
        for info in sorted(pkgutil.iter_modules(folder), key=lambda info: info.name):
            if not info.ispkg:
                module = importlib.import_module(f"{self.package}.{info.name}")
                yield from self._in(module, module.__name__)

    def _others(self) -> Iterator[type[T]]:
        for entry in entry_points(group=self.group):
            try:
                loaded = entry.load()
            except Exception as error:  # whatever a module of others raises when it is imported
                raise TriptychError(
                    f"the plug-in {_named(entry)} cannot be loaded: {first_line(error)}; update or uninstall it"
                ) from error
            classes = [*self._in(loaded, loaded.__name__.partition(".")[0])] if ismodule(loaded) else [loaded]
            if not classes or not all(self._is_one(one) for one in classes):
                raise TriptychError(f"the plug-in {_named(entry)} is no {self.kind.__name__}; update or uninstall it")
            yield from classes

    def _in(self, module: ModuleType, root: str) -> Iterator[type[T]]:
        """The plug-ins that a module holds, as far as they were written within `root`."""
        for member in dict.fromkeys(one for one in vars(module).values() if isinstance(one, type)):
            if f"{member.__module__}.".startswith(f"{root}.") and self._is_one(member):
                yield member

    def _is_one(self, member: Any) -> bool:
        derived = isinstance(member, type) and issubclass(member, self.kind) and not isabstract(member)
        return derived and bool(getattr(member, self.name, ""))


def _named(entry: EntryPoint) -> str:
    return f"{entry.name!r} ({entry.value}) of {entry.dist.name if entry.dist else 'an unknown package'}"
