"""Files that hide a module of Python, or one that scl needs, from everything that imports it.

Python looks in a script's folder first, so a study in `random.py` is what every library there gets from
`import random`. This module imports nothing that such a file could hide: built-in modules, and the frozen `os`.
"""

from __future__ import annotations

import _imp
import os
import sys
from collections.abc import Iterable, Iterator

HARMLESS = {"antigravity", "idlelib", "test", "this", "turtle", "turtledemo"}  # which no library imports
SUFFIXES = (".py", ".pyc", *_imp.extension_suffixes())


def refuse_hidden_modules() -> None:
    """End a script with code 2 and one sentence if a file hides a module, in a folder that Python searches before its
    own. Elsewhere, as in a notebook, raises ImportError with that sentence."""
    message = hiding(_searched_first())
    if message is None:
        return
    if sys.argv[:1] == ["-m"] or hasattr(sys.modules.get("__main__"), "__file__"):
        sys.stderr.write(f"error: {message}\n")
        raise SystemExit(2)
    raise ImportError(message)


def hiding(folders: Iterable[str]) -> str | None:
    """The sentence that names a file in one of these folders, the module that it hides, and the way out; or None."""
    for folder in folders:
        for path, name in _modules(folder):
            if name in sys.stdlib_module_names:
                if name not in HARMLESS and name not in sys.builtin_module_names and not _imp.is_frozen(name):
                    return f"{path} hides Python's own module {name!r} from all libraries, so rename it"
            elif name != "scl" and (installed := _installed(name, path)) and _needed(name):
                return f"{path} hides the installed module {name!r} ({installed}) from all libraries, so rename it"
    return None


def _searched_first() -> list[str]:
    """The folders that Python searches before its standard library, but those of installed packages."""
    first = []
    for folder in sys.path:
        if os.path.exists(os.path.join(folder, "os.py")):
            break
        if not _is_for_packages(folder):
            first.append(folder)
    return first


def _is_for_packages(folder: str) -> bool:
    return not {"site-packages", "dist-packages"}.isdisjoint(folder.split(os.sep))


def _modules(folder: str) -> Iterator[tuple[str, str]]:
    """The files and packages that `import` finds in a folder: path, name."""
    try:
        entries = sorted(os.listdir(folder or "."))
    except OSError:
        return
    for entry in entries:
        path = os.path.join(folder, entry)
        suffix = next((s for s in SUFFIXES if entry.endswith(s)), "")
        if suffix and entry != f"__init__{suffix}":
            yield path, entry.removesuffix(suffix)
        elif os.path.isfile(os.path.join(path, "__init__.py")):
            yield path, entry


def _installed(name: str, path: str) -> str | None:
    """Where an installed module of this name is; None if there is none, or if it is this file."""
    for folder in filter(_is_for_packages, sys.path):
        for place in (os.path.join(folder, name), os.path.join(folder, f"{name}.py")):
            found = os.path.isfile(place) or os.path.isfile(os.path.join(place, "__init__.py"))
            if found and not os.path.samefile(place, path):
                return place
    return None


def _needed(name: str) -> bool:
    """Whether the module belongs to a package that scl needs, directly or not. A user may hide others at will."""
    from importlib import metadata  # Python's own modules are not hidden when this is asked  # noqa: PLC0415

    wanted, packages = ["scl-studies"], set[str]()
    while wanted:
        package = wanted.pop().lower().replace("_", "-")
        if package not in packages:
            packages.add(package)
            try:
                required = metadata.requires(package) or []
            except metadata.PackageNotFoundError:
                continue  # of an extra, or for another system
            if package != "scl-studies":
                required = [requirement for requirement in required if "extra ==" not in requirement]
            for requirement in required:
                end = next((i for i, c in enumerate(requirement) if not (c.isalnum() or c in "-_.")), len(requirement))
                wanted.append(requirement[:end])
    owners = metadata.packages_distributions().get(name, [])
    return any(owner.lower().replace("_", "-") in packages for owner in owners)
