"""How the documentation is built: `make docs`.  Nothing is fetched from the network, and warnings are errors."""

from __future__ import annotations

import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.ext.napoleon import GoogleDocstring
from sphinx.util.fileutil import copy_asset

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE)]
# The notebook runs in a process of its own: it finds the same package, and uses one thread (the tensors are tiny).
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(HERE), os.environ.get("PYTHONPATH", "")])
os.environ.setdefault("OMP_NUM_THREADS", "1")
# It has a profile of its own, too: nothing of the user's, and no remarks about the transport between the processes.
profile = HERE / "_build" / "ipython" / "profile_default" / "ipython_kernel_config.py"
profile.parent.mkdir(parents=True, exist_ok=True)
profile.write_text("get_config().IPKernelApp.log_level = 40\n", "utf-8")
os.environ["IPYTHONDIR"] = str(profile.parent.parent)

import api_pages  # noqa: E402
import crossrefs  # noqa: E402
import docstrings  # noqa: E402

import physinv  # noqa: E402

project = "physinv"
author = "the physinv authors"
release = version = physinv.__version__
copyright = author

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "extending/examples"]
nitpicky = True
# Types of other packages: without their inventories (a download) there is nothing to link to.
ELSEWHERE = (
    "PIL|abc|annotated_types|collections|contextlib|dataclasses|enum|h5py|jaxtyping|matplotlib|np|numpy|pandas|pathlib|pd|pydantic"
    "|pydantic_core|rich|safetensors|scipy|torch|typer|types|typing|xarray|xr"
)
SHORT = (  # as signatures name them, also those of checked models
    r"(Tensor|ndarray|Float|Complex|Int|Int64|Bool|Figure|tuple|dict|NoneType|FieldInfo|Ge|Gt|MinLen|AllowInfNan|csc_matrix)(\[.*)?"
)
nitpick_ignore_regex = [
    (r"py:.*", rf"({ELSEWHERE})\..*"),
    (r"py:.*", SHORT),
    (r"py:.*", r"'.*'"),  # shapes
]

# --- Markdown and the notebook
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "attrs_inline", "substitution"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE / "_build" / "notebooks")
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True

# --- docstrings
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
add_module_names = False
maximum_signature_line_length = 90
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
viewcode_line_numbers = True

# --- pages
html_theme = "pydata_sphinx_theme"
html_title = "physinv"
html_static_path = ["_static"]
html_css_files = ["physinv.css"]
html_show_sourcelink = False
# Pages with wide tables have nothing at the right.
SYSTEMS = ("heat", "quadratic", "double-well", "particles", "burgers", "navier-stokes")
WIDE = [f"results/{page}" for page in ("index", *SYSTEMS)]
# Pages without pages below them have nothing to show at the left.
html_sidebars = {
    page: []
    for page in (
        "install",
        "quickstart",
        "trust",
        "methods",
        "glossary",
        "formats",
        "design",
        "contributing",
        "changelog",
    )
}
html_theme_options: dict[str, Any] = {
    "show_prev_next": True,
    "navigation_with_keys": False,
    "secondary_sidebar_items": {"**": ["page-toc"], **{page: [] for page in WIDE}},
    "footer_start": ["copyright"],
    "footer_end": [],
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
# Formulas are set by a copy of MathJax that comes with the pages: they are read without a network, too.
MATHJAX = "tex-svg.js"
mathjax_path = MATHJAX


def copy_mathjax(app: Sphinx, problem: Exception | None) -> None:
    """Put MathJax beside the pages once they are built."""
    if problem is None and app.builder.format == "html":
        package = metadata.distribution("sphinx-mathjax-offline")
        copy_asset(package.locate_file(f"sphinx-mathjax-offline/static/mathjax/{MATHJAX}"), app.outdir / "_static")


def prepare_docstring(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Mark formulas and tables of words in a docstring for reStructuredText."""
    lines[:] = docstrings.to_rst(lines)


def setup(app: Sphinx) -> None:
    """Write the pages of the reference before Sphinx looks for pages."""
    api_pages.write(ROOT, HERE / "api")
    # A property's docstring is a sentence, even with a colon in it: napoleon would take what precedes it for a type.
    GoogleDocstring._parse_attribute_docstring = GoogleDocstring._consume_to_end  # type: ignore[method-assign]
    app.connect("autodoc-process-docstring", prepare_docstring, priority=400)
    app.connect("missing-reference", crossrefs.resolve)
    app.connect("build-finished", copy_mathjax)
