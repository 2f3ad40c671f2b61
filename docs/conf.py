"""How the pages of this folder become a site: ``make docs``."""

from importlib.metadata import version as installed

project = "clbench"
author = "the clbench authors"
release = version = installed("clbench")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
suppress_warnings = [
    "myst.xref_missing",  # links to files of the repository, which the README's test follows
]
default_role = "code"  # `name` in docstrings, as in these pages
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

html_theme = "furo"
html_title = "clbench"
html_show_copyright = False
html_copy_source = False
html_use_index = html_domain_indices = False  # no page leads there; the search finds names
html_static_path = ["_static"]
html_css_files = ["site.css"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_use_ivar = True
