"""Configuration of the documentation site; `make docs` builds it with Sphinx.

The sources are all Markdown pages of the repository, so that their links to each other work there and on the site.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # the extensions beside this file

project = "skipweave"
author = "The skipweave authors"
project_copyright = "The skipweave authors"
html_title = project

root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "benchmarks/README.md",
    "CHANGELOG.md",
    "CODE_OF_CONDUCT.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
]
exclude_patterns = [".*", "build", "runs", "src", "tests", "**/.ipynb_checkpoints"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "docstrings",
    "reference",
    "model_table",
]
myst_heading_anchors = 4
myst_enable_extensions = ["attrs_block", "colon_fence"]
suppress_warnings = ["myst.header"]  # pages of results begin sections below the level of their titles
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
nb_output_stderr = "remove"  # notices of libraries, with paths of the machine

default_role = "py:obj"  # `name` in a docstring links to the name, if it is in the reference
autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_inherit_docstrings = False
autodoc_default_options = {"members": True, "exclude-members": "model_config"}
python_maximum_signature_line_length = 100
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_static_path = ["static"]
html_extra_path = ["root"]  # the first page leads to docs/
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
