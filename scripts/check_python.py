"""Run by the interpreter under test: may oarlock's bridge be built for it? Old syntax on purpose.

usage: PYTHON check_python.py gil|ft     exit status 0, or 1 with one line that says what is wrong
"""

import os
import sys
import sysconfig

kind = sys.argv[1]
name = {"gil": "PYTHON", "ft": "FT_PYTHON"}[kind]
version = "%d.%d" % sys.version_info[:2]
wrong = None
if sys.version_info < (3, 13):
    wrong = "is CPython %s, which is too old: oarlock needs 3.13 or later" % version
elif sys.implementation.name != "cpython":
    wrong = "is %s: oarlock embeds CPython" % sys.implementation.name
elif kind == "ft" and not sysconfig.get_config_var("Py_GIL_DISABLED"):
    wrong = "is not a free-threaded build: give one configured with --disable-gil (python%st)" % version
elif kind == "gil" and sysconfig.get_config_var("Py_GIL_DISABLED"):
    wrong = "is a free-threaded build: give it as FT_PYTHON= and a build with the GIL here"
elif not sysconfig.get_config_var("Py_ENABLE_SHARED"):
    wrong = "has no shared libpython (static only): give a build configured with --enable-shared"
else:
    include = sysconfig.get_path("include")
    library = os.path.join(sysconfig.get_config_var("LIBDIR") or "", sysconfig.get_config_var("INSTSONAME") or "")
    if not os.path.exists(os.path.join(include, "Python.h")):
        wrong = "has no headers in %s: install its -dev package" % include
    elif not os.path.exists(library):
        wrong = "has no shared library at %s: install its libpython package" % library
if wrong:
    sys.stderr.write("oarlock: %s=%s %s\n" % (name, sys.executable, wrong))
    sys.exit(1)
