"""Everything that a custom loss reaches changes its identity, or is refused."""

# ruff: noqa: E501
from __future__ import annotations

import importlib
import linecache
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scl.errors import UserError
from scl.study.source import source_identity

HEAD = """
import collections, dataclasses, enum, functools, math, types
from types import SimpleNamespace
import numpy as np
import torch
from torch import nn
import torch.nn.functional as F
import helper
import package.deep
from helper import measured

def loss(s, t):
    return (s - t).mean() * FACTOR()
"""

# Each is put after HEAD; `2.5` becomes `3.5`. The loss reads FACTOR.
REACHED = {
    "function": "def FACTOR(): return 2.5",
    "no_grad": "@torch.no_grad()\ndef FACTOR(): return 2.5",
    "no_grad, deeper": "def deep(): return 2.5\n@torch.no_grad()\ndef FACTOR(): return deep()",
    "inference_mode": "def deep(): return 2.5\n@torch.inference_mode()\ndef FACTOR(): return deep()",
    "autocast": "def deep(): return 2.5\n@torch.autocast('cpu')\ndef FACTOR(): return deep()",
    "lru_cache": "def deep(): return 2.5\n@functools.lru_cache\ndef FACTOR(): return deep()",
    "lru_cache with a size": "V = 2.5\n@functools.lru_cache(maxsize=3)\ndef FACTOR(): return V",
    "wraps": "def own(f):\n @functools.wraps(f)\n def w(): return f()\n return w\nV = 2.5\n@own\ndef FACTOR(): return V",
    "decorator": "def own(f):\n @functools.wraps(f)\n def w(): return f() * 2.5\n return w\n@own\ndef FACTOR(): return 1",
    "decorator without wraps": "def own(f):\n def w(): return f()\n return w\nV = 2.5\n@own\ndef FACTOR(): return V",
    "decorator's number": "def own(x):\n def d(f):\n  return lambda: f() * x\n return d\nV = 2.5\n@own(V)\ndef FACTOR(): return 1",
    "decorator that is a class": (
        "class own:\n def __init__(self, f): self.f = f\n def __call__(self): return self.f()\n"
        "V = 2.5\n@own\ndef FACTOR(): return V"
    ),
    "three decorators": (
        "V = 2.5\n@functools.lru_cache\n@torch.no_grad()\n@functools.lru_cache\ndef FACTOR(): return V"
    ),
    "dict of functions": "def deep(): return 2.5\nTABLE = {'a': deep}\ndef FACTOR(): return TABLE['a']()",
    "dict of lambdas": "V = 2.5\nTABLE = {'a': lambda: V}\ndef FACTOR(): return TABLE['a']()",
    "list of functions": "def deep(): return 2.5\nTABLE = [deep]\ndef FACTOR(): return TABLE[0]()",
    "nested containers": "def deep(): return 2.5\nTABLE = {'a': [(deep,)]}\ndef FACTOR(): return TABLE['a'][0][0]()",
    "defaultdict": "TABLE = collections.defaultdict(lambda: 2.5)\ndef FACTOR(): return TABLE['a']",
    "deque": "TABLE = collections.deque([2.5])\ndef FACTOR(): return TABLE[0]",
    "read-only dict": "TABLE = types.MappingProxyType({'a': 2.5})\ndef FACTOR(): return TABLE['a']",
    "partial": "def deep(x): return x\nFACTOR = functools.partial(deep, 2.5)",
    "partial of a function": "V = 2.5\ndef deep(x): return V\nFACTOR = functools.partial(deep, 1)",
    "partial of a partial": "def deep(x, y): return x\nFACTOR = functools.partial(functools.partial(deep, 2.5), 1)",
    "partial of the loss's own": "def deep(x=1): return x\nP = functools.partial(deep, x=2.5)\ndef FACTOR(): return P()",
    "partial of torch": "P = functools.partial(torch.full, (1,), 2.5)\ndef FACTOR(): return P()",
    "import inside": "def FACTOR():\n import helper as h\n return h.factor()",
    "from import inside": "def FACTOR():\n from helper import factor\n return factor()",
    "import inside of a module of a package": "def FACTOR():\n from package import deep as d\n return d.factor()",
    "import inside, dotted": "def FACTOR():\n import package.deep\n return package.deep.factor()",
    "module": "def FACTOR(): return helper.factor()",
    "module of a package": "def FACTOR(): return package.deep.factor()",
    "module that a module imports": "def FACTOR(): return helper.through()",
    "constant of a module that a module imports": "def FACTOR(): return helper.constant()",
    "constant of a module": "def FACTOR(): return helper.base.VALUE",
    "module passed on": "def read(m): return m.factor()\ndef FACTOR(): return read(helper)",
    "getattr": "def FACTOR(): return getattr(helper, 'fac' + 'tor')()",
    "value that a module computed": "def FACTOR(): return helper.COMPUTED",
    "function of a module": "def FACTOR(): return measured()",
    "lambda": "FACTOR = lambda: 2.5",
    "lambda's default": "FACTOR = lambda x=2.5: x",
    "default": "V = 2.5\ndef FACTOR(x=V): return x",
    "keyword default": "V = 2.5\ndef FACTOR(*, x=V): return x",
    "closure": "def make(x):\n def f(): return x\n return f\nFACTOR = make(2.5)",
    "closure in a closure": "def make(x):\n def f():\n  def g(): return x\n  return g()\n return f\nFACTOR = make(2.5)",
    "function's attribute": "def FACTOR(): return FACTOR.value\nFACTOR.value = 2.5",
    "frozen network": "NET = nn.AvgPool2d(2, divisor_override=int(2.5 * 2))\ndef FACTOR(): return NET(torch.ones(1, 2, 2)).mean()",
    "frozen weights": (
        "NET = nn.Linear(1, 1).requires_grad_(False)\nNET.weight.fill_(2.5)\nNET.bias.fill_(0)\n"
        "def FACTOR(): return NET(torch.ones(1)).sum()"
    ),
    "own network": (
        "V = 2.5\nclass Net(nn.Module):\n def forward(self, x): return x * V\nNET = Net()\ndef FACTOR(): return NET(1)"
    ),
    "network's attribute": (
        "class Net(nn.Module):\n def __init__(self, v):\n  super().__init__()\n  self.v = v\n"
        " def forward(self, x): return x * self.v\nV = 2.5\nNET = Net(V)\ndef FACTOR(): return NET(1)"
    ),
    "static method": "V = 2.5\nclass C:\n @staticmethod\n def f(): return V\ndef FACTOR(): return C.f()",
    "class method": "V = 2.5\nclass C:\n @classmethod\n def f(cls): return V\ndef FACTOR(): return C.f()",
    "property": "V = 2.5\nclass C:\n @property\n def f(self): return V\ndef FACTOR(): return C().f",
    "cached property": "V = 2.5\nclass C:\n @functools.cached_property\n def f(self): return V\ndef FACTOR(): return C().f",
    "partial method": "V = 2.5\nclass C:\n def g(self, x): return x\n f = functools.partialmethod(g, V)\ndef FACTOR(): return C().f()",
    "decorated method": "V = 2.5\nclass C:\n @torch.no_grad()\n def f(self): return V\ndef FACTOR(): return C().f()",
    "method from elsewhere": "V = 2.5\nclass C: pass\nC.f = lambda self: V\ndef FACTOR(): return C().f()",
    "wrapped method": (
        "def own(f):\n @functools.wraps(f)\n def w(self): return f(self) * 2.5\n return w\n"
        "class C:\n @own\n def f(self): return 1\ndef FACTOR(): return C().f()"
    ),
    "class attribute": "V = 2.5\nclass C:\n value = V\ndef FACTOR(): return C.value",
    "class attribute set later": "class C:\n value = 1\nC.value = 2.5\ndef FACTOR(): return C.value",
    "class in a class": "V = 2.5\nclass C:\n class D:\n  def f(self): return V\ndef FACTOR(): return C.D().f()",
    "base class": "V = 2.5\nclass B:\n def f(self): return V\nclass C(B): pass\ndef FACTOR(): return C().f()",
    "metaclass": "class M(type):\n @property\n def v(cls): return 2.5\nclass C(metaclass=M): pass\ndef FACTOR(): return C.v",
    "autograd function": (
        "class Own(torch.autograd.Function):\n @staticmethod\n def forward(ctx, x): return x * 2.5\n"
        " @staticmethod\n def backward(ctx, g): return g\ndef FACTOR(): return Own.apply(torch.ones(1))"
    ),
    "namespace": "N = SimpleNamespace(value=2.5)\ndef FACTOR(): return N.value",
    "namespace of functions": "V = 2.5\nN = SimpleNamespace(f=lambda: V)\ndef FACTOR(): return N.f()",
    "data class": "@dataclasses.dataclass\nclass C:\n value: float = 2.5\nO = C()\ndef FACTOR(): return O.value",
    "data class's factory": (
        "V = 2.5\n@dataclasses.dataclass\nclass C:\n value: float = dataclasses.field(default_factory=lambda: V)\n"
        "def FACTOR(): return C().value"
    ),
    "slots": "class C:\n __slots__ = ('v',)\nO = C()\nO.v = 2.5\ndef FACTOR(): return O.v",
    "named tuple": "T = collections.namedtuple('T', 'v')\nO = T(2.5)\ndef FACTOR(): return O.v",
    "enumeration": "class E(enum.Enum):\n A = 2.5\ndef FACTOR(): return E.A.value",
    "enumeration by a variable": "V = 2.5\nclass E(enum.Enum):\n A = V\ndef FACTOR(): return E.A.value",
    "object": "V = 2.5\nclass C:\n def f(self): return V\nO = C()\ndef FACTOR(): return O.f()",
    "object's state": "class C:\n def __init__(self, v): self.v = v\nO = C(2.5)\ndef FACTOR(): return O.v",
    "callable object": "class C:\n def __init__(self, v): self.v = v\n def __call__(self): return self.v\nFACTOR = C(2.5)",
    "bound method": "class C:\n def __init__(self, v): self.v = v\n def f(self): return self.v\nFACTOR = C(2.5).f",
    "bound method of a dict": "GET = {'a': 2.5}.get\ndef FACTOR(): return GET('a')",
    "tensor": "V = torch.tensor(2.5)\ndef FACTOR(): return V",
    "large tensor": "V = torch.full((200_001,), 2.5)\ndef FACTOR(): return V.mean()",
    "large array": "V = np.full(200_001, 2.5)\ndef FACTOR(): return V.mean()",
    "array": "V = np.array([2.5])\ndef FACTOR(): return V[0]",
    "type of a tensor": "V = torch.tensor(2049.0).to(torch.float16 if 2.5 < 3 else torch.float32)\ndef FACTOR(): return V",
    "type": "V = torch.float16 if 2.5 < 3 else torch.float32\ndef FACTOR(): return torch.tensor(2049.0, dtype=V)",
    "vectorize": "def deep(x): return 2.5\nV = np.vectorize(deep)\ndef FACTOR(): return float(V(1))",
    "singledispatch": (
        "V = 2.5\n@functools.singledispatch\ndef f(x): return 1\n@f.register\ndef _(x: int): return V\n"
        "def FACTOR(): return f(1)"
    ),
    "vmap": "V = 2.5\nf = torch.vmap(lambda x: x * V)\ndef FACTOR(): return f(torch.ones(1)).sum()",
    "comprehension": "V = 2.5\ndef FACTOR(): return sum([x * V for x in range(2)])",
    "global in a class body": "V = 2.5\ndef FACTOR():\n class C:\n  v = V\n return C.v",
    "recursion": "V = 2.5\ndef FACTOR(n=1): return FACTOR(n - 1) if n else V",
    "list that holds itself": "L = [2.5]\nL.append(L)\ndef FACTOR(): return L[0]",
    "name bound to a module's function": "FACTOR = helper.factor",
    "complex": "V = 2.5 + 0j\ndef FACTOR(): return V.real",
    "range": "V = range(int(2.5 * 2))\ndef FACTOR(): return len(V)",
    "autograd function's apply": (
        "class Own(torch.autograd.Function):\n @staticmethod\n def forward(ctx, x): return x * 2.5\n"
        " @staticmethod\n def backward(ctx, g): return g\nown = Own.apply\ndef FACTOR(): return own(torch.ones(1))"
    ),
    "class method by a variable": "class C:\n v = 2.5\n @classmethod\n def f(cls): return cls.v\nFACTOR = C.f",
    "lambda over lines": "FACTOR = (\n lambda:\n  2.5\n)",
    "lambda over lines in a call": "FACTOR = functools.partial(\n lambda x:\n  x * 2.5,\n 1)",
    "second lambda over lines": "T = [\n lambda x: x, lambda x: (\n  x * 2.5),\n]\ndef FACTOR(): return T[1](1)",
    "class defined twice": "class C:\n def f(self): return 1\nclass C:\n def f(self): return 2.5\ndef FACTOR(): return C().f()",
    "class in an else": (
        "if math.pi > 4:\n class C:\n  def f(self): return 1\nelse:\n class C:\n  def f(self): return 2.5\n"
        "def FACTOR(): return C().f()"
    ),
    "classes named _": (
        "R = {}\ndef reg(n): return lambda c: R.setdefault(n, c)\n@reg('a')\nclass _:\n def f(self): return 1\n"
        "@reg('b')\nclass _:\n def f(self): return 2.5\ndef FACTOR(): return R['b']().f()"
    ),
    "method of a class of the same name": "class Scale:\n f = helper.Scale.f\ndef FACTOR(): return Scale().f()",
    "class made by type": "C = type('C', (), {'f': lambda self: 2.5})\ndef FACTOR(): return C().f()",
    "module that finds its attributes": "import lazy\ndef FACTOR(): return lazy.anything",
    "module made by hand": "M = types.ModuleType('m')\nM.v = 2.5\ndef FACTOR(): return M.v",
    "subclass of float": "class S(float):\n def f(self): return 2.5\nX = S(1)\ndef FACTOR(): return X.f()",
    "subclass of str with an attribute": "class S(str): pass\nX = S('a')\nX.v = 2.5\ndef FACTOR(): return X.v",
    "IntEnum": "class E(enum.IntEnum):\n A = 1\n def f(self): return 2.5\nM = E.A\ndef FACTOR(): return M.f()",
    "str and Enum": "class E(str, enum.Enum):\n A = 'a'\n def f(self): return 2.5\nM = E.A\ndef FACTOR(): return M.f()",
    "subclass of dict": "class D(dict):\n def f(self): return 2.5\nX = D()\ndef FACTOR(): return X.f()",
    "dict with attributes": "class D(dict):\n __getattr__ = dict.get\nX = D(v=2.5)\ndef FACTOR(): return X.v",
    "object that answers all names": (
        "class L:\n def __init__(self, **k): self.__dict__.update(k)\n def __getattr__(self, n):\n"
        "  if n.startswith('__'): raise AttributeError(n)\nX = L(v=2.5)\ndef FACTOR(): return X.v"
    ),
    "properties that raise": (
        "class L:\n v = 2.5\n @property\n def dtype(self): raise RuntimeError\n @property\n def tolist(self): raise RuntimeError\n"
        "X = L()\ndef FACTOR(): return X.v"
    ),
    "subclass of a tensor": (
        "class Own(torch.Tensor):\n def f(self): return 2.5\nT = torch.ones(1).as_subclass(Own)\ndef FACTOR(): return T.f()"
    ),
    "attribute of a tensor": "T = torch.ones(1)\nT.v = 2.5\ndef FACTOR(): return T.v",
    "subclass of an array": "class Own(np.ndarray):\n def f(self): return 2.5\nT = np.ones(1).view(Own)\ndef FACTOR(): return T.f()",
    "masked array": "T = np.ma.array([1.0, 2.0], mask=[0, 1], fill_value=2.5)\ndef FACTOR(): return float(T.filled()[1])",
    "array of functions": "def a(): return 2.5\nT = np.array([a, None], dtype=object)\ndef FACTOR(): return T[0]()",
    "shape of an empty tensor": "T = torch.zeros(0, int(2.5 * 2))\ndef FACTOR(): return T.shape[1]",
    "large complex tensor": "T = torch.full((200_001,), 2.5 + 1j).conj()\ndef FACTOR(): return T[0].real",
    "table of a pandas": "import pandas as pd\nS = pd.Series([1.0, 9.0], index=['a', 'b'] if 2.5 < 3 else ['b', 'a'])\ndef FACTOR(): return float(S['a'])",
    "class of a notebook's cell": (
        "import linecache\nCELL = 'import typing\\ndef deep(): return 2.5\\nclass C(typing.NamedTuple):\\n a: int = 1\\n"
        " def f(self): return deep()\\nO = C()\\n'\n"
        "linecache.cache['<ipython-input-1>'] = (len(CELL), None, CELL.splitlines(True), '<ipython-input-1>')\n"
        "exec(compile(CELL, '<ipython-input-1>', 'exec'), globals())\ndef FACTOR(): return O.f()"
    ),
    "shared lists": "a = [2.5]\nfor _ in range(30): a = [a, a]\ndef FACTOR():\n x = a\n while isinstance(x, list): x = x[0]\n return x",
    "dense graph": (
        "class N: pass\nNS = [N() for _ in range(12)]\nfor n in NS: n.v, n.all = 2.5, [m for m in NS if m is not n]\n"
        "def FACTOR(): return NS[0].v"
    ),
    "attrs": "import attrs\n@attrs.define\nclass C:\n v: float = 2.5\nO = C()\ndef FACTOR(): return O.v",
    "script": "S = torch.jit.trace(lambda x: x * 2.5, torch.ones(1))\ndef FACTOR(): return S(torch.ones(1))",
}
FILES = {
    "helper.py": "import base\nfrom base import VALUE\nCOMPUTED = sum([base.VALUE, 1])\n"
    "def factor(): return 2.5\ndef through(): return base.factor()\ndef constant(): return VALUE\n"
    "from measures import measured\nclass Scale:\n def f(self): return 2.5\ndef scaled(): return 1\n",
    "lazy.py": "import base\ndef __getattr__(name): return base.VALUE\n",
    "base.py": "VALUE = 2.5\ndef factor(): return 2.5\ndef scaled(): return 2\n",
    "measures.py": "def measured(): return 2.5\n",
    "package/__init__.py": "",
    "package/deep.py": "from .deeper import factor\n",
    "package/deeper.py": "def factor(): return 2.5\n",
}


def identity(folder: Path, text: str, changed: bool = False) -> tuple[str, float]:
    """The hash of the loss in a file that ends with this text, and the loss's value; `changed`: for other numbers."""
    edit = (lambda t: t.replace("2.5", "3.5")) if changed else (lambda t: t)
    modules = {name.removesuffix(".py").replace("/__init__", "").replace("/", ".") for name in FILES} | {"own"}
    for name, content in {**FILES, "own.py": HEAD + text + "\n"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(edit(content))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        for name in modules:
            patch.delitem(sys.modules, name, raising=False)
        linecache.checkcache()
        own = importlib.import_module("own")
        import torch

        try:
            return source_identity("mine", own.loss)["sha256"], float(own.loss(torch.ones(1), torch.zeros(1)))
        finally:
            for name in modules:
                sys.modules.pop(name, None)


# The loss differs between the two sides of `<one|other>`, and all code but this variable stays.
SWAPPED = {
    "function of torch": "D = <F.mse_loss|F.l1_loss>",
    "class of torch": "D = <nn.MSELoss|nn.L1Loss>",
    "built-in": "D = <max|min>",
    "function in C": "D = <torch.sin|torch.cos>",
    "module": "D = <np|math>",
    "function of the user": "def a(): return 1\ndef b(): return 2\ndef both(): return a() + b()\nD = <a|b>",
    "class of the user": "class A: v = 1\nclass B: v = 2\ndef both(): return A.v + B.v\nD = <A|B>",
    "module of the user": "import base\ndef both(): return base.VALUE + helper.factor()\nD = <base|helper>",
    "function of one name": (
        "import base\nfrom <helper|base> import scaled\ndef both(): return helper.scaled() + base.scaled()\ndef D(): return scaled()"
    ),
    "name of an import": "from math import <sin|cos> as D",
    "class attribute": "class D: f = torch.sin\nD.f = <torch.sin|torch.cos>",
    "method": "class D:\n def f(self): return 1\n def g(self): return 2\nD.f = <D.f|D.g>",
    "table": "D = {'a': <torch.sin|torch.cos>}",
    "table of one name": "D = {'a': <math.sin|np.sin>}",
    "closure": "def make(d):\n def D(): return d(torch.ones(1))\n return D\nD = make(<torch.sin|torch.cos>)",
    "closures of one code": (
        "def make(v):\n def f(): return v\n return f\nP, Q, R = make(1), make(9), make(<1|9>)\ndef both(): return P() + Q()\nD = R"
    ),
    "classes of one code": (
        "def make(v):\n class C:\n  def f(self): return v\n return C\nP, Q, R = make(1), make(9), make(<1|9>)\n"
        "def both(): return P().f() + Q().f()\nD = R"
    ),
    "lambdas of one line": "L = [lambda: 1, lambda: 2]\nD = L[<0|1>]",
    "default": "V = <torch.sin|torch.cos>\ndef D(d=V): return d(torch.ones(1))",
    "type of an empty tensor": "D = torch.zeros(0, dtype=<torch.float32|torch.int64>)",
    "type of a large array": "D = np.zeros(200_001, dtype=<'float64'|'int64'>)",
}


@pytest.mark.parametrize("case", SWAPPED)
def test_what_a_variable_stands_for_is_in_the_identity(case: str, tmp_path: Path) -> None:
    text = SWAPPED[case] + "\ndef FACTOR(): return both() if D is None else 1"
    one, other = (re.sub(r"<([^|<>]*)\|([^|<>]*)>", side, text) for side in (r"\1", r"\2"))
    assert identity(tmp_path / "a", one)[0] != identity(tmp_path / "b", other)[0]


@pytest.mark.parametrize("case", REACHED)
def test_what_changes_the_value_of_a_loss_changes_its_identity(case: str, tmp_path: Path) -> None:
    one, value = identity(tmp_path / "a", REACHED[case])
    again, _ = identity(tmp_path / "b", REACHED[case])
    two, other = identity(tmp_path / "c", REACHED[case], changed=True)
    assert value != other, "the case must change what the loss gives"
    assert one == again != two


REFUSED = {
    "open": ("def FACTOR(): return float(open('x').read())", "reaches open in FACTOR"),
    "read_text": ("from pathlib import Path\ndef FACTOR(): return float(Path('x').read_text())", "reads a file"),
    "torch.load": ("def FACTOR(): return torch.load('x')", "torch.load in FACTOR"),
    "load by its name": (
        "from torch import load\ndef FACTOR(): return load('x')",
        "reaches load, .* it reads from outside",
    ),
    "np.load": ("def FACTOR(): return np.load('x')", "np.load in FACTOR"),
    "environment": ("import os\ndef FACTOR(): return float(os.environ['X'])", "reads environment variables"),
    "environment by its name": ("from os import environ\ndef FACTOR(): return float(environ['X'])", "environment"),
    "environment inside": ("def FACTOR():\n import os\n return float(os.environ['X'])", "reads environment variables"),
    "getenv inside": ("def FACTOR():\n from os import getenv\n return float(getenv('X'))", "environment variables"),
    "eval": ("def FACTOR(): return eval('2.5')", "eval in FACTOR"),
    "import_module": ("import importlib\ndef FACTOR(): return importlib.import_module('helper').factor()", "imports"),
    "globals": ("def FACTOR(): return globals()['V']", "globals in FACTOR"),
    "lock": ("import threading\nLOCK = threading.Lock()\ndef FACTOR():\n with LOCK: return 1", "LOCK"),
    "generator": ("G = (x for x in [1])\ndef FACTOR(): return next(G)", "reaches G"),
    "open file": ("import os\nFILE = open(os.devnull)\ndef FACTOR(): return FILE.read()", "reaches FILE"),
    "random stream": ("G = torch.Generator()\ndef FACTOR(): return torch.rand(1, generator=G)", "random stream"),
    "random stream of numpy": ("G = np.random.default_rng(0)\ndef FACTOR(): return G.random()", "random stream"),
    "random stream of Python": (
        "import random\nG = random.Random(0)\ndef FACTOR(): return G.random()",
        "random stream",
    ),
    "network that trains": ("NET = nn.Linear(1, 1)\ndef FACTOR(): return NET(torch.ones(1))", "would not train"),
    "tensor that trains": ("W = torch.ones(1, requires_grad=True)\ndef FACTOR(): return W", "would not train"),
    "code without source": ("exec('def FACTOR(): return 2.5')", "no source that can be read"),
    "in a decorated helper": ("@torch.no_grad()\ndef FACTOR(): return float(open('x').read())", "open in FACTOR"),
    "partial of open": (
        "P = functools.partial(open, mode='r')\ndef FACTOR(): return P('x')",
        "reaches P, .* reads from outside",
    ),
    "open in a table": ("T = {'r': open}\ndef FACTOR(): return T['r']('x')", "reaches T"),
    "open as a default": ("def FACTOR(r=open): return r('x')", "reaches a default of FACTOR"),
    "Path.open": ("from pathlib import Path\ndef FACTOR(): return Path('x').open()", "reaches .open"),
    "another name for a module": ("def FACTOR():\n m = np\n return m.load('x')", "np.load"),
    "module in a closure": (
        "def make(m):\n def f(): return m.load('x')\n return f\nFACTOR = make(np)",
        "numpy.load by m",
    ),
    "module in a table": ("T = {'m': np}\ndef FACTOR(): return T['m'].load('x')", "numpy.load by T"),
    "read_csv by its name": ("from pandas import read_csv as r\ndef FACTOR(): return r('x')", "reaches r"),
    "read_pickle": ("import pandas as pd\ndef FACTOR(): return pd.read_pickle('x')", "pd.read_pickle"),
    "tomllib": ("import tomllib\ndef FACTOR(): return tomllib.load(1)", "tomllib.load"),
    "linecache": ("import linecache\ndef FACTOR(): return linecache.getline('x', 1)", "linecache.getline"),
    "environment by os.path": ("def FACTOR():\n import os.path\n return os.environ['X']", "environment variables"),
    "command line": ("import sys\ndef FACTOR(): return sys.argv[0]", "sys.argv"),
    "modules by name": ("import sys\ndef FACTOR(): return sys.modules['helper'].factor()", "sys.modules"),
    "globals of a function": ("def FACTOR(): return FACTOR.__globals__['V']", "__globals__"),
    "globals by getattr": ("def FACTOR(): return getattr(FACTOR, '__globals__')['V']", "__globals__"),
    "subclasses": ("class B: pass\ndef FACTOR(): return B.__subclasses__()[0]", "__subclasses__"),
    "frompyfunc": ("V = np.frompyfunc(lambda x: x, 1, 1)\ndef FACTOR(): return V(1)", "use numpy.vectorize"),
    "sparse tensor": ("T = torch.eye(2).to_sparse()\ndef FACTOR(): return T", "sparse"),
    "meta tensor": ("T = torch.ones(1, device='meta')\ndef FACTOR(): return T", "meta tensor"),
    "nested tensor": ("T = torch.nested.nested_tensor([torch.ones(1)])\ndef FACTOR(): return T", "nested"),
    "deep list": ("a = []\nfor _ in range(3000): a = [a]\ndef FACTOR(): return a", "reaches a, .* nested too deeply"),
    "in a dict": ("TABLE = {'a': lambda: open('x')}\ndef FACTOR(): return TABLE['a']()", "open in <lambda>"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_followed_is_refused_by_name(case: str, tmp_path: Path) -> None:
    text, message = REFUSED[case]
    with pytest.raises(UserError, match=message) as refused:
        identity(tmp_path, text)
    assert "options={…}" in str(refused.value)
    assert "version='…'" in str(refused.value)


ALLOWED = {
    "parameters that are named like built-in functions": "def FACTOR(input=1, open=2, compile=3): return input + open + compile",
    "the global random streams": (
        "import random\nfrom random import gauss\nfrom numpy.random import rand\n"
        "def FACTOR(): return 0 * (random.random() + gauss(0, 1) + rand() + np.random.rand() + float(torch.rand(1)))"
    ),
    "a logger": "import logging\nLOG = logging.getLogger('x')\ndef FACTOR():\n LOG.info('x')\n return 1",
    "a device": "D = torch.device('cpu')\ndef FACTOR(): return torch.ones(1, device=D)",
    "functions of torch": "mse = F.mse_loss\ndef FACTOR(): return mse(torch.ones(1), torch.zeros(1))",
    "a pattern": "import re\nP = re.compile('a')\ndef FACTOR(): return len(P.findall('a'))",
    "types": "from typing import TypeVar, Callable\nT = TypeVar('T')\nK = Callable[[int], int]\ndef FACTOR(): return (T, K) and 1",
    "protocols": "import typing\nclass P(typing.Protocol):\n def f(self) -> int: ...\ndef FACTOR(): return P and 1",
    "abstract classes": (
        "import abc\nclass A(abc.ABC):\n @abc.abstractmethod\n def f(self): ...\nclass C(A):\n def f(self): return 1\n"
        "def FACTOR(): return C().f()"
    ),
    "generic classes": (
        "import typing\nT = typing.TypeVar('T')\nclass C(typing.Generic[T]):\n def f(self): return 1\n"
        "def FACTOR(): return C[int]().f()"
    ),
    "parts of torchvision": (
        "from torchvision.transforms import GaussianBlur\nB = GaussianBlur(3)\n"
        "def FACTOR(): return B(torch.ones(1, 5, 5)).mean()"
    ),
    "a path": "from pathlib import Path\nHERE = Path('x')\ndef FACTOR(): return len(str(HERE))",
    "asserts and doc strings": "def FACTOR():\n '''Words.'''\n assert True, 'x'\n return 1",
    "limits of numbers": "E, I = torch.finfo(torch.float32), torch.iinfo(torch.int8)\ndef FACTOR(): return E.eps * I.max",
    "frozen distributions of scipy": "from scipy.stats import norm\nN = norm(0, 1)\ndef FACTOR(): return float(N.pdf(1))",
    "types that are named later": "from typing import Union\nU = Union['Later', int]\ndef FACTOR(): return 1 if U else 0",
    "operations of torch": "A = torch.ops.aten.add\ndef FACTOR(): return A(torch.ones(1), 1)",
    "paths beside the file": (
        "import os\nfrom pathlib import Path\nHERE, FOLDER = Path(__file__).parent / 'x', os.path.dirname(os.path.abspath(__file__))\n"
        "def FACTOR(): return 1 if HERE and FOLDER and __file__ else 0"
    ),
    "sets": "S = frozenset({'a', 'b', 'c'})\ndef FACTOR(): return len([x for x in ('a', 'b') if x in {'a', 'b', 'c'}])",
}


@pytest.mark.parametrize("case", ALLOWED)
def test_what_can_be_followed_is_not_refused(case: str, tmp_path: Path) -> None:
    assert identity(tmp_path / "a", ALLOWED[case])[0] == identity(tmp_path / "b", ALLOWED[case])[0]


def test_what_a_loss_does_not_reach_is_not_in_its_identity(tmp_path: Path) -> None:
    text = "def FACTOR(): return 1\ndef unrelated(): return 2.5\nV = 2.5\nFILE = open(__file__)"
    files = [tmp_path / "a", tmp_path / "b"]
    (one, _), (two, _) = identity(files[0], text), identity(files[1], text.replace("2.5", "3.5"))
    assert one == two


def test_code_that_was_edited_after_its_import_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The id would be that of the new source, and the numbers those of the old code."""
    file = tmp_path / "edited_loss.py"
    file.write_text("V = 1\ndef helper(): return 2\ndef loss(s, t): return helper() * V\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("edited_loss")
    source_identity("mine", module.loss)
    for edited in (
        "V = 1\ndef helper(): return 3\ndef loss(s, t): return helper() * V\n",
        "# a line\n" + file.read_text(),
    ):
        file.write_text(edited)
        with pytest.raises(UserError, match=r"edited after its import: .*; start Python again"):
            source_identity("mine", module.loss)
    monkeypatch.delitem(sys.modules, "edited_loss")


STABLE = """
import enum, json
class A: v = 1
class B: v = 2
class E(enum.Enum):
    X = 1
    Y = 2
def f(): return 1
def g(): return 2
NAMES, MIXED = {"a", "b", "c"}, {("a", 1), None, "b", 2.5}
FUNCTIONS, CLASSES, MEMBERS, OBJECTS = {f, g, lambda: 3}, frozenset({A, B, E}), {E.X, E.Y}, {A(), B()}
MODULES = {enum, json}
def loss(s, t): return NAMES, MIXED, FUNCTIONS, CLASSES, MEMBERS, OBJECTS, MODULES, __file__
"""


def test_the_identity_does_not_depend_on_the_process_or_the_folder(tmp_path: Path) -> None:
    """Sets have another order in each process."""
    processes = []
    for seed in ("1", "2", "3"):
        folder = tmp_path / ("x" * int(seed))
        folder.mkdir()
        (folder / "own.py").write_text(STABLE)
        script = "import own; from scl.study.source import source_identity as i; print(i('mine', own.loss)['sha256'])"
        path = os.pathsep.join([str(folder), *sys.path])
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}
        command = [sys.executable, "-c", script]
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    found = {process.communicate()[0] for process in processes}
    assert len(found) == 1
    assert len(found.pop().strip()) == 64
