# SPDX-License-Identifier: Apache-2.0
"""How charts look. A colour is a role; in a report the roles are CSS variables, so that one SVG serves light and
dark."""
import io
import re

import matplotlib

matplotlib.use("Agg")
from matplotlib.figure import Figure  # noqa: E402  (behind the choice of the backend)

# Colours that differ in hue and in lightness (after Okabe and Ito, 2008), also for eyes that see fewer of them. No two
# roles may have the same value: it is how svg() finds them again.
SERIES = ("#0072b2", "#d55e01", "#009e73", "#a0529c", "#b58900", "#3fa7d6", "#8c564b", "#6b7280")
INK, MUTED, GRID, BAND = "#1f2328", "#667079", "#d9dee3", "#eef1f4"
ROLES = {INK: "ink", MUTED: "muted", GRID: "grid", BAND: "band", **{color: f"s{i}" for i, color in enumerate(SERIES)}}
PANEL = (4.3, 2.75)  # inches; small enough to be read at its own size on a phone

SETTINGS = {
    "font.size": 8.5, "axes.titlesize": 9.5, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.labelsize": 8.5, "xtick.labelsize": 8, "ytick.labelsize": 8, "legend.fontsize": 8, "legend.frameon": False,
    "legend.handlelength": 1.4, "legend.borderaxespad": 0.2, "legend.labelspacing": 0.25, "legend.columnspacing": 1.2,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": MUTED, "axes.labelcolor": INK,
    "axes.titlecolor": INK, "text.color": INK, "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelcolor": INK,
    "ytick.labelcolor": INK, "axes.grid": True, "axes.grid.axis": "y", "grid.color": GRID, "grid.linewidth": 0.7,
    "axes.linewidth": 0.8, "lines.linewidth": 1.5, "lines.markersize": 3.6, "axes.axisbelow": True,
    "svg.fonttype": "none", "svg.hashsalt": "selvage", "path.simplify_threshold": 0.3,
    "axes.formatter.useoffset": False, }


def color(index):
    return SERIES[index % len(SERIES)]


def role_of(index):
    """Name of the series' CSS variable."""
    return ROLES[color(index)]


def panel(draw, size=PANEL):
    """A figure of one chart; None where `draw(axes)` says that there is nothing to show."""
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=size, layout="constrained")
        return figure if draw(figure.add_subplot()) else None


def svg(figure, description):
    """The figure as an <svg> element without fixed size or colours, its text as text."""
    with matplotlib.rc_context(SETTINGS):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg"):]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    # Ids of groups would stand many times in a page; those that something refers to are digests of what they name.
    used = set(re.findall(r"(?:#)([\w-]+)", " ".join(re.findall(r'(?:xlink:href="|url\()#[\w-]+', text))))
    text = re.sub(r' id="([\w-]+)"', lambda found: found[0] if found[1] in used else "", text)
    for value, role in ROLES.items():
        text = text.replace(value, f"var(--{role})")
    text = re.sub(r"font: (?:bold )?([\d.]+)px [^;\"]*", lambda f: f"font-size: {f[1]}px" +
                  ("; font-weight: 600" if "bold" in f[0] else ""), text)
    width, height = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text).groups()
    text = re.sub(
        r"<svg[^>]*>", f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{description}" '
        'xmlns:xlink="http://www.w3.org/1999/xlink">', text, count=1)
    text = re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), text)
    return re.sub(r"\n\s*", "\n", text)
