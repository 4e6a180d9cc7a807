"""Call code with its settings, but without its libraries and data, until it needs one of them.

The functions and classes that settings name check their settings themselves, before they compute.
To import them takes seconds, as it imports torch; to rehearse them takes milliseconds.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable
from functools import lru_cache, wraps
from importlib import import_module
from importlib.machinery import SourceFileLoader
from types import FunctionType, ModuleType
from typing import Any

from stages.running.code import ROOT

#: Modules that are quick to import and that only compute.
_PURE = {
    *("__future__", "abc", "collections", "collections.abc", "contextlib", "dataclasses", "enum"),
    *(
        "functools",
        "itertools",
        "math",
        "pathlib",
        "re",
        "types",
        "typing",
        "stages.settings.checks",
    ),
}
#: What modules define that can be called, beside classes.
_FUNCTIONS = (FunctionType, type(lru_cache(len)))


class Needed(Exception):
    """The code needs a value that a rehearsal does not have."""


class Blank:
    """Base of classes whose own base is in a library."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Unknown()


class Unknown:
    """Stands for anything in a library, and for data: what is computed from it is unknown as well.

    Parameters
    ----------
    length : int or None
        what `len` returns; None: not known
    facts : objects
        attributes that are known
    """

    __slots__ = ("_facts", "_length")  # and nothing that `vars` could list

    def __init__(self, *, length: int | None = None, **facts: object) -> None:
        self._length, self._facts = length, facts

    def __len__(self) -> int:
        if self._length is None:
            raise Needed
        return self._length

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._facts[name] if name in self._facts else Unknown()

    def __call__(self, *args: Any, **_: object) -> Any:
        """Return what a decorator would decorate."""
        one = args[0] if len(args) == 1 else None
        return one if isinstance(one, (FunctionType, type)) else Unknown()

    def __mro_entries__(self, bases: tuple) -> tuple[type, ...]:
        return (Blank,)

    def __eq__(self, other: object) -> Any:
        return Unknown() if isinstance(other, _VALUES) else self is other

    def __ne__(self, other: object) -> Any:
        return Unknown() if isinstance(other, _VALUES) else self is not other

    def __hash__(self) -> int:
        return id(self)


_VALUES = (Unknown, str, int, float, list, tuple, dict, set, type(None))


def _answer(*_: object) -> Unknown:
    return Unknown()


def _end(*_: object) -> Any:
    raise Needed


_ANSWERED = "neg pos abs invert lt le gt ge getitem round enter"
_TWO_SIDED = "add sub mul truediv floordiv mod pow matmul and or xor"
_ENDING = "bool iter next int float index contains str repr format exit dir"
for _name in [
    *_ANSWERED.split(),
    *_TWO_SIDED.split(),
    *(f"r{name}" for name in _TWO_SIDED.split()),
]:
    setattr(Unknown, f"__{_name}__", _answer)
for _name in _ENDING.split():
    setattr(Unknown, f"__{_name}__", _end)


def rehearsed(name: str) -> ModuleType:
    """Return a module of this project whose imports of libraries are `Unknown`.

    Parameters
    ----------
    name : str
        such as stages.acoustics.mfcc

    Raises
    ------
    ModuleNotFoundError
        if there is no such module
    Needed
        if it needs a library while it is imported
    """
    known = f"rehearsal.{name}"  # dataclasses look their module up
    if known not in sys.modules:
        path = ROOT.joinpath(*name.split("."))
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if not file.is_file():
            raise ModuleNotFoundError(name, name=name)
        module = ModuleType(known)
        module.__file__ = str(file)
        vars(module)["__builtins__"] = vars(builtins) | {"__import__": _imported}
        sys.modules[known] = module
        code = SourceFileLoader(name, str(file)).get_code(name)
        assert code is not None
        try:
            exec(code, vars(module))
        except Exception as error:
            del sys.modules[known]
            raise Needed from error
        for attribute, value in list(vars(module).items()):
            if isinstance(value, _FUNCTIONS) and value.__module__ == known:
                setattr(module, attribute, _unknown_in_the_end(value))
    return sys.modules[known]


def _unknown_in_the_end(function: Callable) -> Callable:
    """Let a function that needs what a rehearsal does not have return `Unknown`."""

    @wraps(function)
    def wrapped(*args: Any, **settings: Any) -> Any:
        try:
            return function(*args, **settings)
        except ValueError:
            raise
        except Exception:  # also of the stand-ins
            return Unknown()

    return wrapped


def _imported(name: str, _: Any = None, __: Any = None, names: Any = (), ___: int = 0) -> Any:
    if name in _PURE:
        return import_module(name)
    if not name.startswith("stages."):
        return Unknown()
    try:
        module = rehearsed(name)
    except Needed:
        return Unknown()
    for attribute in names or ():
        if not hasattr(module, attribute):
            setattr(module, attribute, rehearsed(f"{name}.{attribute}"))
    return module


def rehearse(call: Callable[[], object]) -> None:
    """Call rehearsed code.

    Parameters
    ----------
    call : callable
        a function or class of a module from `rehearsed`, with its arguments bound

    Raises
    ------
    ValueError
        of a check that its settings do not pass
    """
    try:
        call()
    except ValueError as error:
        if ": got " in str(error):  # else of a stand-in
            raise
    except Exception:  # of a stand-in
        return
