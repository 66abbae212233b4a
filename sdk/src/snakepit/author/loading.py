"""From `worker.adapter` to the class of adapters, and what was meant where it names none."""

from __future__ import annotations

import importlib
import inspect
import itertools
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from snakepit._names import nearest
from snakepit.author.adapter import MARK, Adapter, AdapterError

FORM = "package.module:Class or package.module"
MOST_NAMED = 8
"""So many modules, classes or folders are named in a sentence."""

_MOST_MODULES = 5000
_FILE = re.compile(r"(?P<module>.+)\.py(:(?P<class>.*))?")


def load(path: str) -> type[Adapter]:
    """The class of `package.module:Class`; of `package.module`, one that has the module's own `@tool` functions.

    Raises AdapterError where the path names no adapter, and whatever the author's module raises at its import.
    """
    if (meant := of_a_file(path)) is not None:
        raise AdapterError(f"worker.adapter {path!r} is a file, and has to be {FORM}: write {meant}")
    module_name, _, class_name = path.partition(":")
    if not module_name or (":" in path and not class_name):
        raise AdapterError(f"worker.adapter {path!r} must be {FORM}")
    module = _import(module_name, class_name)
    return _class(module, class_name) if class_name else _of_module(module)


def _of_module(module: ModuleType) -> type[Adapter]:
    """Its functions have no names here that a hook of an adapter could have; a module variable `thread_safe = True` is heeded."""
    marked = [each for each in vars(module).values() if hasattr(each, MARK) and getattr(each, "__module__", None) == module.__name__]
    functions = {f"tool {number}": staticmethod(each) for number, each in enumerate(marked)}
    said = {"__doc__": module.__doc__, "thread_safe": getattr(module, "thread_safe", False)}
    return type(module.__name__, (Adapter,), {**said, **functions})


def of_a_file(path: str) -> str | None:
    """The right form of `app/tools.py:App`, and of the like; None: it is no file."""
    file = _FILE.fullmatch(path)
    if file is None and "/" not in path:
        return None
    module, class_name = (file["module"], file["class"] or "") if file else path.partition(":")[::2]
    dotted = module.removeprefix("./").strip("/").replace("/", ".")
    return f"{dotted}:{class_name}" if class_name else dotted


def _import(name: str, class_name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(f"{missing}."):
            raise AdapterError(_no_module(name, missing, class_name)) from None
        above = missing.rpartition(".")[0]
        error.add_note(_where(missing, above) if above in sys.modules else _not_installed(missing))
        raise


def _no_module(name: str, missing: str, class_name: str) -> str:
    """Of the adapter's own module, or of a package that it is in."""
    parent, _, last = name.rpartition(".")
    holder = sys.modules.get(parent) if missing == name and not class_name else None
    if inspect.isclass(getattr(holder, last, None)):
        return f"worker.adapter {name!r} has a dot before the class, and has to be {FORM}: write {parent}:{last}"
    above = missing.rpartition(".")[0]
    return f"no module is named {missing!r}: {_where(missing, above)}"


def _where(missing: str, package: str = "") -> str:
    """What there is instead: in the package, or beside the pool file."""
    if package:
        prefix, folders = f"{package}.", list(dict.fromkeys(getattr(sys.modules.get(package), "__path__", ())))
    else:
        prefix, folders = "", _own_folders()
    own = _modules(folders)
    meant = nearest(missing.removeprefix(prefix), own)
    there = _there(folders, [prefix + each for each in own])
    return f"did you mean {prefix}{meant[0]}? ({there})" if meant else there


def _not_installed(missing: str) -> str:
    folders = _own_folders()
    own = _modules(folders)
    meant = nearest(missing, own) or nearest(missing, _modules(sys.path))
    question = f"; or did you mean {meant[0]}?" if meant else ""
    return f"{missing} is not installed in {sys.prefix}: install what brings it, with pip{question} ({_there(folders, own)})"


def _own_folders() -> list[str]:
    return [each for each in dict.fromkeys(sys.path) if not _is_library(each) and _modules([each])]


def _there(folders: list[str], names: list[str]) -> str:
    return f"in {_listed(folders)} there {'are' if len(names) > 1 else 'is'} {_listed(names) if names else 'none'}"


def _modules(folders: Iterable[str]) -> list[str]:
    import pkgutil  # seldom needed, as all of this

    places = list(folders)
    found = itertools.chain((each.name for each in pkgutil.iter_modules(places)), _bare_packages(places))
    return sorted({each for each in itertools.islice(found, _MOST_MODULES) if not each.startswith(("_", "snakepit"))})


def _bare_packages(folders: list[str]) -> Iterator[str]:
    """Folders of modules without an `__init__.py`, which can be imported too."""
    for folder in map(Path, folders):
        try:
            yield from (each.name for each in folder.iterdir() if each.name.isidentifier() and any(each.glob("*.py")))
        except OSError:  # It may be no folder, or not to be read.
            continue


def _is_library(folder: str) -> bool:
    """What Python brings, and what is installed."""
    import sysconfig

    return folder.endswith((".zip", "-packages")) or folder.startswith(sysconfig.get_path("stdlib"))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{', '.join(each or '.' for each in names[:MOST_NAMED])}{more}"


def _class(module: ModuleType, name: str) -> type[Adapter]:
    found = getattr(module, name, None)
    if found is None:
        raise AdapterError(f"module {module.__name__!r} has no {name!r}{_instead(module, name)}")
    if not inspect.isclass(found) or not issubclass(found, Adapter):
        raise AdapterError(f"{module.__name__}:{name} is not an Adapter: derive the class from snakepit.Adapter")
    return found


def _instead(module: ModuleType, name: str) -> str:
    classes = [n for n, each in vars(module).items() if inspect.isclass(each) and issubclass(each, Adapter) and each is not Adapter]
    if meant := nearest(name, classes):
        return f": did you mean {module.__name__}:{meant[0]}?"
    return f"; it has {_listed(sorted(classes))}" if classes else ", and no class that derives from snakepit.Adapter"
