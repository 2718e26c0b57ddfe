"""A Sphinx extension: formulas without a network.

Sphinx's default loads MathJax from another host. This takes one file out of the package
``sphinx-mathjax-offline``, the component that draws formulas as SVG and so needs no fonts.
"""

from importlib.util import find_spec
from pathlib import Path

COMPONENT = "tex-svg.js"


def setup(app):
    """Put MathJax among the static files, and point Sphinx to it."""
    package = Path(find_spec("sphinx-mathjax-offline").origin).parent
    app.config.html_static_path.append(str(package / "static" / "mathjax" / COMPONENT))
    app.config.mathjax_path = COMPONENT
    return {"parallel_read_safe": True, "parallel_write_safe": True}
