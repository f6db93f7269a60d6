"""The site: Markdown pages, the reference from the docstrings, and the gallery, made by running `examples/`.

`make docs` treats every warning as an error, a reference that leads nowhere included, and ends with `check_site.py`.
`_ext/` has what is our own: formulas as MathML, the links between guides and reference, the sections of the gallery.
"""

import re
import sys
from pathlib import Path

import matplotlib
from sphinx_gallery.sorting import ExplicitOrder

import xentrs

sys.path.insert(0, str(Path(__file__).with_name("_ext")))
from sections import SECTIONS

project = "xentrs"
author = "The xentrs developers"
copyright = f"2026, {author}"
release = version = xentrs.__version__

extensions = [
    "crossings",
    "mathml",
    "myst_parser",
    "numpydoc",
    "sections",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
html_math_renderer = "mathml"
highlight_language = "none"  # blocks of docstrings that are no sessions of Python: formulas in plain text
copybutton_exclude = ".linenos, .gp, .go"  # neither prompts nor outputs
exclude_patterns = ["_build", "_ext", "_templates"]
templates_path = ["_templates"]
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"sklearn\..*")]  # names of others, which nothing here can follow

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the Parameters sections say it in words, with shapes and units
autodoc_default_options = {"members": True}
autodoc_mock_imports = ["dask", "jax", "torch"]  # gigabytes, of which the docstrings of the bridges need nothing
autosummary_context = {
    # Estimators and objectives: what they have from base classes belongs to them.
    "inheriting": ("xentrs.models.", "xentrs.boosting."),
    # Where the base class is PyTorch's, which is not installed here.
    "signatures": {
        "xentrs.torch.SoftmaxFocalLoss": "(**options)",
        "xentrs.torch.SigmoidFocalLoss": "(**options)",
        "xentrs.torch.CrossEntropyLoss": "(weight=None, size_average=None, ignore_index=-100, reduce=None, "
        "reduction='mean', label_smoothing=0.0)",
        "xentrs.torch.BCEWithLogitsLoss": "(weight=None, size_average=None, reduce=None, reduction='mean', "
        "pos_weight=None)",
        "xentrs.torch.LinearCrossEntropyLoss": "(in_features, num_classes, *, out_features=(), bias=False, "
        "device=None, dtype=None, reduction='mean', weight=None, ignore_index=None, label_smoothing=0.0, options=None)",
    },
}
numpydoc_show_class_members = False  # the methods follow in full, so no table of them

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",  # every example is run, not those alone that are called plot_...
    "within_subsection_order": ExplicitOrder([f"{name}.py" for names in SECTIONS.values() for name in names]),
    "doc_module": ("xentrs",),
    "backreferences_dir": "gallery/backreferences",
    "capture_repr": (),
    "remove_config_comments": True,
    "download_all_examples": False,
    "show_signature": False,
    "thumbnail_size": (640, 448),
    "write_computation_times": False,
}

# sphinx-gallery goes back to matplotlib's defaults before each example: so one style for all pictures.
style = Path(__file__).with_name("gallery.mplstyle")
matplotlib.rcParamsDefault.update(matplotlib.rc_params_from_file(style, use_default_template=False))

html_theme = "furo"
html_title = f"xentrs {release}"
html_copy_source = False
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["site.css"]


def setup(app):
    """Leave out of the reference what scikit-learn adds to every estimator: set_fit_request and the like."""
    app.connect("autodoc-skip-member", lambda app, what, name, *_: bool(re.fullmatch(r"set_\w+_request", name)) or None)
