"""A small drawing board: matplotlib in, one inline SVG out that follows the page's light or dark colours.

matplotlib is imported when something is drawn, never before: it would double the time to start.
"""

import io
import re
import warnings
from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH: Final = 360
"""Width of every drawing in CSS pixels: a phone's, and a third of a desktop's; its text keeps its size."""
HEIGHT: Final = 216
_LEFT, _RIGHT, _TOP, _BOTTOM, _ABOVE_STRIP, _BETWEEN = 38, 80, 10, 24, 76, 18
"""Where axes with lines stand: pixels from the drawing's edges, and between the axes and a strip."""
_POINTS_PER_INCH: Final = 72
_LABELS_AT: Final = 1.03
"""Where labels beside the axes begin, in widths of the axes."""
_MAX_NAME: Final = 20
_LABEL_GAP: Final = 13.5
"""Least distance between the baselines of two labels, in pixels."""

ROLES: Final = ("ink", "muted", "grid", "track", "run", "popularity", "users", "items", "alarm")
"""Every colour a drawing may use, by what it stands for; the page's style sheet says which colour that is."""


class Plot(NamedTuple):
    """A drawing, its heading and the sentence under it; ``svg`` is empty where there is nothing to draw."""

    title: str
    caption: str
    svg: str = ""


class Label(NamedTuple):
    """Text beside the end of a line, in the line's colour."""

    y: float
    text: str
    role: str


def color(role: str) -> str:
    """Return the colour that stands for ``role`` while matplotlib draws; the page's own takes its place."""
    return f"#0000{ROLES.index(role) + 1:02x}"


def draw(name: str, label: str, paint: Callable[["Figure"], None], height: int = HEIGHT) -> str:
    """Return what ``paint`` draws as an ``<svg>`` element to stand in a page; the same bytes each time.

    ``name`` keeps the ids of several drawings in one page apart; ``label`` says in words what is to be seen.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(), warnings.catch_warnings():
        # The browser's fonts count, not matplotlib's: a glyph that the latter lacks is no matter.
        warnings.simplefilter("ignore")
        mpl.rcdefaults()
        mpl.rcParams.update(_settings(name))
        figure = Figure(figsize=(WIDTH / _POINTS_PER_INCH, height / _POINTS_PER_INCH))
        figure.patch.set_visible(False)
        paint(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return _inline(buffer.getvalue(), label, height)


def _settings(name: str) -> dict[Any, Any]:
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        # Names are text: a dollar sign in one must not start a formula.
        "text.parse_math": False,
        "text.color": color("muted"),
        "font.size": 11.5,
        "axes.spines.left": False,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.edgecolor": color("grid"),
        "axes.facecolor": "none",
        "axes.axisbelow": True,
        "xtick.bottom": False,
        "ytick.left": False,
        "xtick.color": color("muted"),
        "ytick.color": color("muted"),
        "xtick.labelsize": 11,
        "ytick.labelsize": 11,
        "grid.color": color("grid"),
        "grid.linewidth": 1,
        "lines.linewidth": 2,
        "lines.solid_capstyle": "round",
    }


def _inline(svg: str, label: str, height: int) -> str:
    """Return matplotlib's document as an element: without prologue, style, or ids that nothing refers to."""
    body = svg[svg.index("</metadata>") + len("</metadata>") : svg.rindex("</svg>")]
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r"<[^>]+>", _tidy_tag, body)
    body = re.sub(r">\s+<", "><", body.strip())
    words = escape(label)
    opening = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{words}">'
    return f"{opening}<title>{words}</title>{body}</svg>"


def _tidy_tag(tag: re.Match[str]) -> str:
    text = re.sub(r"\s+", " ", tag[0]).replace("xlink:href", "href")
    text = re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), text)
    return re.sub(r"#0000(\d\d)", lambda found: f"var(--{ROLES[int(found[1]) - 1]})", text)


def shorten(name: str) -> str:
    """Return ``name`` as long as fits beside a bar, without half surrogate pairs, which cannot be drawn."""
    name = name.encode("utf-8", "replace").decode()
    return name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 1] + "\N{HORIZONTAL ELLIPSIS}"


def panel(figure: "Figure", left: int, right: int, top: int, bottom: int) -> "Axes":
    """Return axes that stand so many pixels from the drawing's edges."""
    height = figure.get_figheight() * _POINTS_PER_INCH
    box = (left / WIDTH, bottom / height, (WIDTH - left - right) / WIDTH, (height - top - bottom) / height)
    return figure.add_axes(box)


def scale_y(axes: "Axes", top: float, text: Callable[[float], str], num_ticks: int = 4) -> None:
    """Let the vertical axis run from zero to a little over ``top``, with a few round, ruled ticks."""
    from matplotlib.ticker import MaxNLocator

    top = top if top > 0 else 1.0
    ticks = [float(t) for t in MaxNLocator(num_ticks).tick_values(0, top) if t >= 0]
    ticks = [t for t in ticks if t <= top * 1.12]
    axes.set_ylim(0, max(ticks[-1], top * 1.06))
    rule_y(axes, ticks, [text(t) for t in ticks])


def rule_y(axes: "Axes", ticks: Sequence[float], texts: Sequence[str]) -> None:
    """Rule the axes at ``ticks``; only the rules are seen, so that the data stand out."""
    axes.set_yticks(ticks, texts)
    axes.grid(axis="y")


def scale_x(axes: "Axes", x: NDArray[np.int64], *, named: bool = True) -> None:
    """Let the horizontal axis run over the window numbers ``x``, whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    first, last = (int(x[0]), int(x[-1])) if len(x) else (0, 0)
    margin = 0.5 if last - first < 2 else (last - first) * 0.015
    axes.set_xlim(first - margin, last + margin)
    if not named:
        axes.set_xticks([])
        return
    locator = MaxNLocator(5, integer=True)
    ticks = [int(t) for t in locator.tick_values(first, last) if first <= t <= last]
    axes.set_xticks(ticks, [str(t) for t in ticks])
    axes.annotate(
        "window",
        (_LABELS_AT, 0),
        xytext=(0, -3.5),
        xycoords="axes fraction",
        textcoords="offset points",
        va="top",
        fontsize=11,
    )


def line(
    axes: "Axes",
    x: NDArray[np.int64],
    y: NDArray[np.float64],
    role: str,
    width: float = 2.0,
    style: str = "-",
) -> None:
    """Draw a line with a dot at its end, so that a single window shows as well."""
    axes.plot(x, y, style, color=color(role), linewidth=width)
    known = np.flatnonzero(np.isfinite(y))
    if len(known):
        last = known[-1]
        axes.plot(
            x[last : last + 1],
            y[last : last + 1],
            "o",
            color=color(role),
            markersize=3 + width,
            clip_on=False,
        )


def line_panel(figure: "Figure", *, strip: bool = False) -> "Axes":
    """Return axes with room for labels beside the ends of the lines, and for a strip below if wanted."""
    return panel(figure, _LEFT, _RIGHT, _TOP, _ABOVE_STRIP if strip else _BOTTOM)


def strip(
    figure: "Figure",
    x: NDArray[np.int64],
    values: NDArray[np.float64],
    text: str,
    ticks: Callable[[float], str],
) -> None:
    """Draw a small second plot below the first, over the same windows."""
    axes = panel(figure, _LEFT, _RIGHT, HEIGHT - _ABOVE_STRIP + _BETWEEN, _BOTTOM)
    axes.fill_between(x, 0, values, color=color("muted"), alpha=0.22, linewidth=0)
    line(axes, x, values, "muted", 1)
    known = values[np.isfinite(values)]
    scale_y(axes, float(np.max(known, initial=0.0)), ticks, num_ticks=1)
    scale_x(axes, x)
    if len(known):
        label_ends(axes, [Label(float(known[-1]), text, "muted")])


def write_beside(
    axes: "Axes", spot: tuple[float, float], text: str, role: str, right: float = 0.0, up: float = 0.0
) -> None:
    """Write ``text`` so many pixels to the right of ``spot``, or centred so many above it."""
    axes.annotate(
        text,
        spot,
        xytext=(right, up),
        textcoords="offset points",
        color=color(role),
        ha="left" if right else "center",
        va="baseline" if up else "center_baseline",
    )


def label_ends(axes: "Axes", labels: Sequence[Label]) -> None:
    """Write each label beside the end of its line, moved apart where two would touch."""
    figure = axes.figure
    height = axes.get_position().height * figure.get_figheight() * _POINTS_PER_INCH  # type: ignore[union-attr]
    low, high = axes.get_ylim()
    order = sorted((entry for entry in labels if np.isfinite(entry.y)), key=lambda entry: entry.y)
    spots = [(entry.y - low) / (high - low) * height for entry in order]
    for place, entry in zip(_apart(spots, height), order, strict=True):
        axes.text(
            _LABELS_AT,
            place / height,
            entry.text,
            transform=axes.transAxes,
            color=color(entry.role),
            va="center_baseline",
        )


def _apart(spots: list[float], height: float) -> list[float]:
    """Return increasing ``spots`` moved up as little as keeps them apart, then down where they leave."""
    moved: list[float] = []
    for spot in spots:
        moved.append(max(spot, moved[-1] + _LABEL_GAP) if moved else spot)
    overshoot = max(0.0, moved[-1] - height) if moved else 0.0
    return [spot - overshoot for spot in moved]
