"""Compiles the modules that programs import: `bytecode.py MODULE…`, with the roots of the imports.

An environment has twice as many modules, and the rest is compiled in memory if it is ever needed.
Bytecode without a time is valid on every copy, and the same in every build.
"""

import importlib
import py_compile
import sys

for root in sys.argv[1:]:
    importlib.import_module(root)
for module in list(sys.modules.values()):
    source = getattr(module, "__file__", None) or ""
    if source.startswith(sys.prefix) and source.endswith(".py"):
        py_compile.compile(
            source, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )
