"""Small figures as PNGs, and the Markdown that shows them in an asset's metadata.

matplotlib keeps a font cache in `MPLCONFIGDIR`, which the caller of this module must have set.
"""

import base64
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, ACCENT, PALE = "#333333", "#1f5fa8", "#b8cfe8"
_DPI = 80


def png_markdown(png: bytes, alt: str) -> str:
    """Return Markdown that shows the PNG itself: Dagster's UI allows `data:` in images."""
    return f"![{alt}](data:image/png;base64,{base64.b64encode(png).decode()})"


def labelled_axes(x: str, y: str) -> "tuple[Figure, Axes]":
    """Return an empty figure and its axes, with the labels of both."""
    # Figure without pyplot: no global state, no display, safe in a thread of the webserver.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 3.4), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)
    axes.tick_params(labelsize=7)
    return figure, axes


def png_of(figure: "Figure") -> bytes:
    """Return the figure as a PNG; the same figure gives the same bytes."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
