"""Extension modules, compiled when a test needs one."""

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

__all__ = ["compile_extension"]

_SOURCE = """
#include <Python.h>
static PyModuleDef_Slot slots[] = {
#ifdef SAFE
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, NAME, NULL, 0, NULL, slots};
PyMODINIT_FUNC INIT(void) { return PyModuleDef_Init(&module); }
"""


def compile_extension(folder: Path, name: str, *, safe: bool) -> None:
    """Compile an empty extension module into a folder; only a `safe` one keeps the GIL off.

    Skips the test where there is no compiler or no Python.h.
    """
    compiler = shutil.which("cc")
    include = Path(sysconfig.get_path("include"))
    if compiler is None or not (include / "Python.h").is_file():
        pytest.skip("no C compiler or no Python.h")
    source = folder / f"{name}.c"
    source.write_text(_SOURCE)
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    subprocess.run(
        [
            *(compiler, "-shared", "-fPIC", f"-I{include}", "-DSAFE" if safe else "-DUNSAFE"),
            *(f'-DNAME="{name}"', f"-DINIT=PyInit_{name}"),
            *("-o", str(folder / f"{name}{suffix}"), str(source)),
        ],
        check=True,
        timeout=60,
    )
