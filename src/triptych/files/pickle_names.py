"""Classifies the names in a pickle.

A program that unpickles a file imports every name in it, and calls some. triptych imports and calls nothing. This
module decides what a name would do in such a program. There are three groups:

* names that make tensors and dicts, which `pickles` understands;
* names that could do harm: the standard library except plain values, modules that load or run code, attributes of
  attributes, and calls of unknown functions. A file with such a name is refused;
* all others: classes of trainers, enumerations, dates, paths. They become inert stubs and are left out.
"""

from __future__ import annotations

import re
import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING

from ..errors import shown
from .pickle_values import Global, RefusedError

BUILDERS = {  # calls that `pickle_machine` understands
    "torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor_v3",
    "torch._utils _rebuild_parameter", "torch._utils _rebuild_parameter_with_state",
    "torch._utils _rebuild_device_tensor_from_numpy", "torch._utils _rebuild_device_tensor_from_cpu_tensor",
    "torch._tensor _rebuild_from_type_v2", "torch Size", "collections OrderedDict", "copyreg _reconstructor",
    "_codecs encode", "builtins bytes", "numpy dtype", "numpy.core.multiarray scalar",
    "numpy.core.multiarray _reconstruct",
}  # fmt: skip
VALUES = {  # lower-case names whose call only makes a value
    "builtins set", "builtins frozenset", "builtins complex", "builtins bytearray", "builtins list", "builtins dict",
    "builtins tuple", "builtins int", "builtins float", "builtins str", "builtins bool", "builtins object",
    "builtins slice", "builtins range", "collections defaultdict", "collections deque", "datetime datetime",
    "datetime date", "datetime time", "datetime timedelta", "datetime timezone", "numpy ndarray", "torch device",
    "torch.serialization _get_layout", "numpy.random._pickle __randomstate_ctor",
    "numpy.random._pickle __generator_ctor", "numpy.random._pickle __bit_generator_ctor",
}  # fmt: skip
PLAIN = {"collections", "datetime", "decimal", "enum", "fractions", "numbers", "pathlib", "pathlib._local", "typing",
         "uuid"}  # fmt: skip  # standard library modules whose classes only hold values
PLAIN_CLASSES = {"argparse Namespace", "types SimpleNamespace"}
GONE = {"asynchat", "asyncore", "cgi", "commands", "crypt", "distutils", "ihooks", "imp", "new", "nntplib", "pipes",
        "popen2", "sets", "smtpd", "telnetlib", "user"}  # fmt: skip  # modules that newer Pythons removed
CODE = (  # other packages that load or run code, or use the network
    "cffi", "cloudpickle", "dill", "execnet", "fabric", "git", "httpx", "invoke", "IPython", "joblib", "jsonpickle",
    "numba", "numpy.ctypeslib", "numpy.distutils", "numpy.f2py", "numpy.testing", "paramiko", "pexpect", "pip",
    "pkg_resources", "plumbum", "psutil", "ptyprocess", "requests", "setuptools", "sh", "torch._C", "torch._classes",
    "torch._dynamo", "torch._inductor", "torch._ops", "torch.classes", "torch.distributed", "torch.hub", "torch.jit",
    "torch.multiprocessing", "torch.ops", "torch.package", "torch.utils.cpp_extension", "torch.utils.model_zoo",
    "urllib3", "xonsh",
)  # fmt: skip
RUNNERS = {  # classes that run or load code, whatever module names them
    "CDLL", "CodeType", "CompilationUnit", "ExtensionFileLoader", "FileIO", "FunctionType", "InteractiveConsole",
    "InteractiveInterpreter", "LambdaType", "MethodType", "ModuleType", "OleDLL", "PackageImporter", "Pickle",
    "Popen", "Process", "ProcessPoolExecutor", "PyDLL", "SourceFileLoader", "SourcelessFileLoader", "Thread",
    "ThreadPoolExecutor", "Timer", "Unpickler", "WinDLL", "ZipFile",
}  # fmt: skip
WARNING = "it is not only a file of tensors, do not load it anywhere (a .safetensors version of it is safe)"


def screened(asked: str) -> Global:
    """The name as Python 3 spells it.

    Raises:
        RefusedError: the name could do harm in a program that unpickles the file.
    """
    name = _today(asked)
    if _harms(asked) or _harms(name):
        raise RefusedError(f"asks for {shown(asked.replace(' ', '.', 1))} when it is loaded: {WARNING}")
    return Global(name)


def check_call(asked: Global) -> None:
    """Check that a call only makes a value: it calls a known builder, or something named like a class.

    Raises:
        RefusedError: it calls an unknown function.
    """
    word = asked.name.partition(" ")[2].lstrip("_")
    known = asked.name in BUILDERS | VALUES or asked.name.startswith("torch._utils _rebuild_")
    if not known and not word[:1].isupper():
        raise RefusedError(f"runs {shown(asked.dotted)} when it is loaded: {WARNING}")


def _today(asked: str) -> str:
    """Translate the names of Python 2 (protocols before 3) and of NumPy 2's moved core."""
    module, _, name = asked.partition(" ")
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    if module == "numpy._core" or module.startswith("numpy._core."):
        module = f"numpy.core{module.removeprefix('numpy._core')}"
    return f"{module} {name}"


def _harms(asked: str) -> bool:
    module, _, name = asked.partition(" ")
    if asked in BUILDERS | VALUES | PLAIN_CLASSES:
        return False
    if not re.fullmatch(r"\w+(\.\w+)*", module) or not name.isidentifier() or name.startswith("__"):
        return True
    if name in RUNNERS or any(module == package or module.startswith(f"{package}.") for package in CODE):
        return True
    root = module.partition(".")[0]
    return (root in sys.stdlib_module_names or root in GONE) and module not in PLAIN
