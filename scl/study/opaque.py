"""What cannot be part of an id: random streams, trainable parameters, and what code reads from outside of itself."""

from __future__ import annotations

import functools
import random
import sys
from collections.abc import Mapping
from types import CodeType, ModuleType
from typing import Any

from scl.study import bytecode

# What these give is not in the code that calls them. Full names, as Python resolves them.
FILES = {
    "builtins": "open",
    "io": "open open_code FileIO",
    "os": "open read listdir scandir walk popen system stat",
    "json": "load",
    "pickle": "load",
    "marshal": "load",
    "tomllib": "load",
    "yaml": "load",
    "joblib": "load",
    "csv": "reader DictReader",
    "linecache": "getline getlines",
    "fileinput": "input",
    "glob": "glob iglob",
    "gzip": "open",
    "bz2": "open",
    "lzma": "open",
    "shelve": "open",
    "dbm": "open",
    "tarfile": "open",
    "zipfile": "ZipFile",
    "mmap": "mmap",
    "torch": "load from_file",
    "torch.serialization": "load",
    "torch.jit": "load",
    "torch.hub": "load load_state_dict_from_url",
    "torch.utils.model_zoo": "load_url",
    "safetensors": "safe_open",
    "safetensors.torch": "load_file",
    "numpy": "load loadtxt genfromtxt fromfile fromregex memmap",
    "scipy.io": "loadmat",
    "h5py": "File",
    "PIL.Image": "open",
    "torchvision.io": "read_image read_file read_video",
    "cv2": "imread",
    "imageio": "imread",
    "matplotlib.image": "imread",
    "matplotlib.pyplot": "imread",
    "pandas": "read_csv read_table read_fwf read_excel read_json read_html read_xml read_hdf read_feather read_parquet "
    "read_orc read_pickle read_sas read_spss read_stata read_sql read_sql_query read_sql_table read_clipboard",
    "pyarrow.parquet": "read_table",
    "urllib.request": "urlopen urlretrieve",
    "requests": "get",
    "socket": "socket",
    "sqlite3": "connect",
    "subprocess": "run check_output Popen call check_call getoutput",
}
OPAQUE = {
    **dict.fromkeys(("eval", "exec", "compile", "globals", "input"), "runs or reads what is not in its code"),
    **dict.fromkeys(("__import__", "importlib.import_module"), "imports a module whose name is not in its code"),
    **dict.fromkeys(("os.environ", "os.getenv", "os.environb"), "reads environment variables"),
    **dict.fromkeys(("sys.argv", "sys.stdin"), "reads what the program was started with"),
    **dict.fromkeys(
        ("sys.modules", "sys._getframe", "gc.get_objects", "inspect.currentframe", "inspect.stack", "__builtins__"),
        "reads what its code does not name",
    ),
    **{
        f"{module}.{name}".removeprefix("builtins."): "reads from outside of its code"
        for module, names in FILES.items()
        for name in names.split()
    },
}
STREAMS = ("torch._C.Generator", "numpy.random._generator.Generator", "numpy.random.mtrand.RandomState")
READING_METHODS = {
    **dict.fromkeys(("read_text", "read_bytes", "open"), "reads a file"),
    **dict.fromkeys(("__globals__", "__subclasses__", "f_globals", "f_locals"), "reads what its code does not name"),
}


def why_opaque(value: Any) -> str | None:
    """Why an object cannot be part of an id; None if it can."""
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, random.Random) or kind in STREAMS:
        if is_shared_stream(value):
            return None
        return "is a random stream of its own; draw with torch.rand, random.random or numpy.random, seeded each step"
    if kind == "os._Environ":
        return OPAQUE["os.environ"]
    if kind == "numpy.ufunc" and set("".join(value.types)) <= set("O->"):
        return "is made of a Python function, which numpy hides; use numpy.vectorize"
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, (torch.Tensor, torch.nn.Module)):
        return None
    if isinstance(value, torch.Tensor):
        strange = value.layout != torch.strided or value.is_quantized or value.is_nested or value.is_meta
        if strange:
            return "is a sparse, quantized, nested or meta tensor; keep its values in a dense tensor"
        trains = value.requires_grad
    else:
        trains = any(p.requires_grad for p in value.parameters())
    way_out = "build it in the __init__ of a loss that is a class, or freeze it with .requires_grad_(False)"
    return f"has parameters that would not train; {way_out}" if trains else None


def why_opaque_function(value: Any) -> str | None:
    """Why a function that code holds as a value, such as ``partial(open)``, cannot be part of an id; None if it can."""
    return _opaque_functions(len(sys.modules)).get(id(value))


@functools.lru_cache(maxsize=4)
def _opaque_functions(_loaded: int) -> dict[int, str]:
    """The id of each opaque function of the modules that are loaded → why. Modules live as long as Python does."""
    found = {}
    for full, reason in OPAQUE.items():
        module, _, name = full.rpartition(".")
        function = vars(sys.modules[module or "builtins"]).get(name) if (module or "builtins") in sys.modules else None
        if callable(function):
            found[id(function)] = reason
    return found


def opaque_reads(code: CodeType, variables: Mapping[str, Any]) -> dict[str, str]:
    """What the code reads that is not in any code → why it cannot be followed."""
    attributes = bytecode.attributes_read(code)
    by_text = bytecode.texts(code)
    anything = attributes | (by_text if "getattr" in bytecode.names(code) else set())
    read: dict[str, set[str]] = {}
    for chain in bytecode.chains(code):
        read[".".join(chain)] = _full_names(chain, variables)
        if isinstance(module := _last(chain, variables), ModuleType):  # m = np; m.load(…)
            read |= {f"{'.'.join(chain)}.{name}": {f"{module.__name__}.{name}"} for name in anything}
    for _, module_name, wanted in bytecode.imports(code):
        root = module_name.partition(".")[0]  # import os.path gives os
        for one in (module_name, root, *(f"{module_name}.{name}" for name in wanted)):
            read |= {f"{one}.{name}": {f"{one}.{name}"} for name in (*wanted, *anything)}
    found = {name: OPAQUE[full] for name, fulls in read.items() for full in fulls if full in OPAQUE}
    for name in (attributes | by_text) & READING_METHODS.keys():
        if name in attributes or name.startswith("_"):  # "__globals__" may be the name for getattr
            found[f".{name}" if name.startswith("_") else f".{name}()"] = READING_METHODS[name]
    return found


def _last(chain: tuple[str, ...], variables: Mapping[str, Any]) -> Any:
    """What a chain of attributes of modules ends at."""
    value = variables.get(chain[0])
    for attribute in chain[1:]:
        value = vars(value).get(attribute) if isinstance(value, ModuleType) else None
    return value


def _full_names(chain: tuple[str, ...], variables: Mapping[str, Any]) -> set[str]:
    """The names, as Python resolves them, of what a chain reads through modules: np.load is numpy.load."""
    root, *attributes = chain
    if root not in variables:
        return {root}  # built in
    value, full = variables[root], ""
    for attribute in attributes:
        if not isinstance(value, ModuleType):
            break
        full = f"{value.__name__}.{attribute}"
        value = vars(value).get(attribute)
    name = getattr(value, "__qualname__", None)
    return {full, f"{getattr(value, '__module__', '')}.{name}"} if isinstance(name, str) else {full}


def is_shared_stream(owner: Any) -> bool:
    """True for the global random streams of Python and numpy, which are seeded each step."""
    shared = getattr(sys.modules.get("numpy.random.mtrand"), "_rand", None)
    return owner is random._inst or owner is shared
