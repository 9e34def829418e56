"""How every figure of the report is framed: colours, axes, panels, SVG for the page, PNG for Markdown.

A figure is a row of small panels. The page shows each panel as its own inline SVG, so that a phone
stacks them at a legible size; the Markdown twin shows them side by side in one PNG. In the SVG the
colours become CSS variables, so that one drawing serves the light and the dark page.
"""

import html
import io
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

INK, MUTED, GRID = "#1b1f24", "#5b6470", "#dadee3"
# Six of seaborn's colour-blind safe hues; the CSS holds their steps for the dark page.
COLOURS = [str(sns.color_palette("colorblind").as_hex()[i]) for i in (0, 1, 2, 4, 3, 7)]
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
PANEL_INCHES = (4.2, 3.1)
_VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--grid"} | {
    colour: f"--series-{number}" for number, colour in enumerate(COLOURS, start=1)
}


@dataclass(frozen=True)
class Panel:
    """One pair of axes: ``draw`` fills it, ``alt`` says in words what it shows."""

    title: str
    alt: str
    draw: Callable[[Axes], None]

    def svg(self, identity: str) -> str:
        """The panel as an SVG element to stand inside an HTML page; ``identity`` makes its ids unique."""
        with _style(identity):
            figure = Figure(figsize=PANEL_INCHES, layout=_layout())
            _fill(figure, self)
            buffer = io.StringIO()
            figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        return _inline(buffer.getvalue(), identity, f"{self.title}: {self.alt}")


@dataclass(frozen=True)
class Picture:
    """A figure of the report: ``name`` is its file name and anchor, ``caption`` says what to see in it."""

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]

    @property
    def alt(self) -> str:
        return " ".join(f"{panel.title}: {panel.alt}" for panel in self.panels)

    @property
    def abreast(self) -> int:
        """How many panels stand side by side where there is room: as many as leave no ragged last line."""
        return 3 if len(self.panels) in (3, 5, 6, 9) else min(2, len(self.panels))

    def svgs(self) -> list[str]:
        return [panel.svg(f"{self.name}-{number}") for number, panel in enumerate(self.panels, start=1)]

    def figure(self) -> Figure:
        """All panels on one matplotlib figure."""
        columns = self.abreast
        lines = math.ceil(len(self.panels) / columns)
        with _style(self.name):
            size = (columns * PANEL_INCHES[0], lines * PANEL_INCHES[1])
            figure = Figure(figsize=size, layout=_layout())
            FigureCanvasAgg(figure)
            frames = figure.subfigures(lines, columns, squeeze=False).flat
            for frame, panel in zip(frames, self.panels, strict=False):
                _fill(frame, panel)
        return figure

    def write_png(self, path: Path) -> None:
        with _style(self.name):
            self.figure().savefig(path, dpi=110, metadata={"Software": None})


def _layout() -> ConstrainedLayoutEngine:
    return ConstrainedLayoutEngine(w_pad=0.07, h_pad=0.07)


@contextmanager
def _style(salt: str) -> Iterator[None]:
    settings = {
        **sns.axes_style("whitegrid"),
        **sns.plotting_context("paper"),
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "text.parse_math": False,  # names and units may hold dollar signs
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "axes.edgecolor": MUTED,
        "axes.labelcolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 10.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "grid.color": GRID,
        "grid.linewidth": 0.7,
        "lines.linewidth": 1.8,
        "figure.facecolor": "white",
    }
    with mpl.rc_context(settings):
        yield


def _fill(frame: Figure | SubFigure, panel: Panel) -> None:
    axes = frame.subplots()
    axes.set_title(panel.title)
    panel.draw(axes)
    if (own := axes.get_legend()) is not None:  # seaborn's; all panels share one style
        own.remove()
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        longest = max(len(label) for label in labels)
        columns = min(1 if longest > 22 else 2 if longest > 14 else 3, len(handles))
        frame.legend(
            handles,
            labels,
            loc="outside lower left",
            ncols=columns,
            frameon=False,
            fontsize=8.5,
            handlelength=1.6,
            columnspacing=1.2,
            labelspacing=0.3,
            borderaxespad=0.2,
        )


def _inline(svg: str, identity: str, alt: str) -> str:
    """Keep the drawing, drop what only a stand-alone SVG file needs, and hand the colours to the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    view_box = re.search(r'viewBox="[^"]*"', svg)
    label = html.escape(alt, quote=True)
    head = f'<svg role="img" aria-label="{label}" {view_box[0] if view_box else ""}>'
    svg = re.sub(r"<svg[^>]*>", lambda _: head, svg, count=1)
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{identity}-", svg)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: var(--font)", svg)
    svg = re.sub(r"(font: (?:\w+ )*[\d.]+px) [^;\"]*", r"\1 var(--font)", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return re.sub(r"\n\s*", "\n", svg).strip()


def colour(number: int) -> str:
    """The colour of the curve with this number; with more curves than colours they repeat."""
    return COLOURS[number % len(COLOURS)]


def marker(number: int) -> str:
    """The marker of the curve with this number; colour and marker repeat at different numbers."""
    return MARKERS[number % len(MARKERS)]


def width(number: int) -> float:
    """Later curves are narrower, so that one that coincides with an earlier one leaves it visible."""
    return max(3.6 - 2.0 * number, 1.4)


def marker_size(number: int) -> float:
    """Smaller marks on larger ones, as with ``width``."""
    return max(7.5 - 2.0 * number, 4.0)


def compact(value: float, _position: object = None) -> str:
    """A tick label without powers of ten: 0.01, 5, 20k, 3M."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.4g}{letter}"
    return f"{value:.4g}"


def log_n_axis(axes: Axes, sizes: list[int]) -> None:
    """A logarithmic N axis with ticks at the sizes themselves, thinned where they would touch."""
    axes.set_xscale("log")
    ticks: list[int] = []
    span = max(math.log(sizes[-1] / sizes[0]), 1e-9) if sizes else 1.0
    for size in sizes:
        if not ticks or math.log(size / ticks[-1]) > 0.06 * span:
            ticks.append(size)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(compact))
    axes.set_xlabel("ADNs, N")
    if sizes:
        axes.set_xlim(sizes[0] / 1.15, sizes[-1] * 1.15)


def log_axis(axes: Axes, farthest: float) -> None:
    """A logarithmic x axis of factors from 1 up."""
    axes.set_xscale("log")
    powers = range(math.ceil(math.log10(farthest)) + 1)
    ticks = [step * 10.0**power for power in powers for step in ((1, 2, 5) if farthest < 100 else (1,))]
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if tick <= farthest]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(compact))
    axes.set_xlim(0.95, farthest)


def log_y_axis(axes: Axes, label: str) -> None:
    """A logarithmic y axis with three to seven round ticks where the range allows."""
    axes.set_ylabel(label)
    if not any(len(line.get_xdata(orig=True)) for line in axes.lines):  # type: ignore[arg-type]
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no run to show", transform=axes.transAxes, ha="center", va="center", color=MUTED)
        return
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 3), (1, 2, 5)) if high / low > 30 else ((1, 2, 5),):
        ticks = [step * 10.0**power for power in powers for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if 3 <= len(ticks) <= 7:
            break
    if len(ticks) > 7:
        ticks = [10.0**power for power in powers if low <= 10.0**power <= high]
    elif len(ticks) < 3:
        ticks = [
            tick
            for tick in MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
            if low <= tick <= high
        ]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(compact))


def log_ratio_axis(axes: Axes, label: str) -> None:
    """A logarithmic y axis about 1, at least from 0.9 to 1.1, with the ticks that a reader would choose."""
    low, high = axes.get_ylim()
    low, high = min(low, 0.88), max(high, 1.14)
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    near = (0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.5, 1.75, 2)
    far = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
    axes.yaxis.set_major_locator(
        FixedLocator([tick for tick in (near if high / low < 4 else far) if low <= tick <= high])
    )
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(compact))
    axes.set_ylabel(label)


def linear_axes(axes: Axes, label: str) -> None:
    """Both axes linear from zero, so that a straight line is linear growth."""
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_formatter(FuncFormatter(compact))
    axes.set_xlabel("ADNs, N")
    axes.set_ylabel(label)
