"""The site: Markdown pages, and the reference from the docstrings. `make docs` treats every warning as an error."""

import xentrs

project = "xentrs"
author = "The xentrs developers"
copyright = f"2026, {author}"
release = version = xentrs.__version__

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath"]
exclude_patterns = ["_build"]

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the Parameters sections say it in words, with shapes and units
numpydoc_class_members_toctree = False
numpydoc_show_inherited_class_members = False

html_theme = "alabaster"
html_theme_options = {"description": "Cross-entropy for NumPy", "fixed_sidebar": True, "page_width": "1080px"}
