"""Methods of reconstruction behind one signature: ``fit(problem, **options) -> answer`` with ``sample`` and ``mean``.

Options of a method are the keyword-only arguments of its function.  A method of your own is one more such function:
name it as ``module:function``, declare it as an entry point of the group ``physinv.methods``, or register it in Python.
An answer with ``tensors()``, of a function that is marked ``@loaded_by(load)``, is saved and loaded as a run
(:mod:`physinv.methods.saving`).
"""

from __future__ import annotations

__all__ = [
    "METHODS",
    "Answer",
    "Method",
    "NotApplicableError",
    "Problem",
    "Setup",
    "describe_method",
    "fit_method",
    "load_method",
    "loaded_by",
    "method_names",
    "method_options",
]

from physinv.methods.problem import Answer, Method, NotApplicableError, Problem
from physinv.methods.registry import METHODS, describe_method, fit_method, load_method, method_names, method_options
from physinv.methods.saving import Setup, loaded_by
