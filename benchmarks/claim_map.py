"""Where does a student pass its teacher? One table and one figure from all runs in benchmarks/results.

    uv run benchmarks/claim_map.py                                           # print the table of RESULTS.md
    uv run --extra figures benchmarks/claim_map.py --figure benchmarks/claim_map.svg

Each point is a student minus its teacher, paired by seed, while one thing varies: training images, the teacher's
training length, the student's width, or its self-taught neurons. Intervals are those of single comparisons.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # the root instead of this folder, whose statistics.py would hide Python's own
    sys.path[0] = str(Path(__file__).parents[1])

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from benchmarks.results import RUNS
from scl import Results, load, stats

FULL, KD = "channel+spatial+kd+self-taught", "kd"
TUNED = f"{FULL} weights of kd"
SMALLER = "claim"  # the study in which every student is smaller than its teacher
# Study and arm → method.
NAMES = {
    ("headline", TUNED): "full method, KD’s weights",
    ("headline", FULL): "full method",
    ("headline", KD): "KD alone",
    ("headline", "baseline"): "cross-entropy alone",
    (SMALLER, FULL): "full method, student below teacher",
    (SMALLER, KD): "KD alone, student below teacher",
    (SMALLER, "dist"): "DIST alone, student below teacher",
    (SMALLER, "baseline"): "cross-entropy alone, student below teacher",
}
IMAGES = 10_000  # of the runs in which other things vary
SHORTER = "plain11 as long as students"
VARIES = {
    "images": "training images",
    "epochs": "teacher’s epochs",
    "width": "student’s width ÷ teacher’s",
    "count": "self-taught neurons a layer",
}


@dataclass(frozen=True)
class Point:
    """A method's student minus its teacher over seeds, in points, with the 95 % interval of the mean.

    varies: a key of VARIES. value: of what varies. method: a name of NAMES. run: a folder of benchmarks/results.
    """

    varies: str
    value: float
    method: str
    run: str
    n: int
    mean: float
    low: float
    high: float


def points() -> list[Point]:
    """Every point that the runs have; of equal ones the one with the most seeds."""
    found: dict[tuple[str, float, str], Point] = {}
    for folder in sorted(path.parent for path in RUNS.glob("*/study.json")):
        for point in _of_run(folder.name, load(str(folder))):
            key = (point.varies, point.value, point.method)
            if key not in found or point.n > found[key].n:
                found[key] = point
    order = list(VARIES), list(NAMES.values())
    return sorted(found.values(), key=lambda p: (order[0].index(p.varies), order[1].index(p.method), p.value))


def _of_run(run: str, read: Results) -> Iterator[Point]:
    scores = read.trials[read.trials["state"] == "completed"].set_index(["arm", "seed"])
    teachers = scores["teacher_test_acc"].dropna().groupby("seed").first()
    images, epochs = int(read.study["data"]["train"]), int(read.study["teacher"]["epochs"])
    arms = set(scores.index.get_level_values("arm"))

    def point(varies: str, value: float, method: str, arm: str, teacher: pd.Series = teachers) -> Iterator[Point]:
        if arm in arms:
            m = stats.mean_interval(100 * (scores.loc[arm, "test_acc"] - teacher).dropna().to_numpy(dtype=float))
            if m.n > 1:
                yield Point(varies, value, method, run, m.n, m.mean, m.low, m.high)

    methods = {arm: method for (study, arm), method in NAMES.items() if study == read.study["study"]}
    for arm, method in methods.items():
        yield from point("images", images, method, arm)
    if images != IMAGES:  # a run in which images alone vary
        return
    if read.study["study"] == SMALLER:
        chosen = int(scores.loc[FULL, "param.self_taught"].iloc[0])
        for count in range(17):
            yield from point("count", count, methods[FULL], FULL if count == chosen else f"{FULL} k={count}")
        return
    for arm, method in methods.items():
        yield from point("epochs", epochs, method, arm)
        if SHORTER in arms:
            shorter = scores.loc[SHORTER, "test_acc"]
            yield from point("epochs", int(scores.loc[SHORTER, "epochs"].iloc[0]), method, arm, shorter)
        for multiple in (1, 2, 3):
            yield from point("width", multiple, method, arm if multiple == 2 else f"x{multiple} {arm}")
    for count in range(17):
        yield from point("count", count, methods[TUNED], TUNED if count == 2 else f"{TUNED} k={count}")


def table(found: list[Point]) -> str:
    lines = [
        "| what varies | value | method | run | n | student − teacher, points | 95 % interval |",
        "| --- | ---: | --- | --- | ---: | ---: | ---: |",
    ]
    for p in found:
        interval = f"[{p.low:+.2f}, {p.high:+.2f}]" if math.isfinite(p.low) else "–"
        lines.append(
            f"| {VARIES[p.varies]} | {p.value:,.0f} | {p.method} | {p.run} | {p.n} | {p.mean:+.2f} | {interval} |"
        )
    return "\n".join(lines)


BLUE, LIGHT, RED, GREEN, GREY = "#0072b2", "#56b4e9", "#d55e00", "#009e73", "#666666"
# Colour and symbol of each method; students below their teachers are open symbols.
LOOKS = dict(
    zip(
        NAMES.values(),
        (
            (BLUE, "circle"), (LIGHT, "square"), (RED, "diamond"), (GREY, "x"),
            (LIGHT, "square-open"), (RED, "diamond-open"), (GREEN, "triangle-up-open"), (GREY, "x-open"),
        ),
        strict=True,
    )
)  # fmt: skip


def draw(found: list[Point]) -> Any:
    """A Plotly figure with a panel for each thing that varies."""
    from plotly.graph_objects import Figure, Scatter  # noqa: PLC0415 - a second, only where there is a picture to make
    from plotly.subplots import make_subplots  # noqa: PLC0415

    figure: Figure = make_subplots(1, len(VARIES), shared_yaxes=True, horizontal_spacing=0.03)
    for column, (varies, title) in enumerate(VARIES.items(), 1):
        values = sorted({p.value for p in found if p.varies == varies})
        for i, method in enumerate(NAMES.values()):
            own = [p for p in found if p.varies == varies and p.method == method]
            figure.add_trace(
                Scatter(
                    x=[values.index(p.value) + 0.08 * (i - (len(NAMES) - 1) / 2) for p in own],
                    y=[p.mean for p in own],
                    error_y={"array": [p.high - p.mean for p in own], "width": 0, "thickness": 1.5},
                    mode="lines+markers",
                    marker={"symbol": LOOKS[method][1], "size": 8, "color": LOOKS[method][0]},
                    line={"width": 1, "color": LOOKS[method][0]},
                    name=method,
                    legendgroup=method,
                    showlegend=column == 1,
                ),
                row=1,
                col=column,
            )
        ticks = {"tickvals": list(range(len(values))), "ticktext": [f"{value:,.0f}" for value in values]}
        figure.update_xaxes(title=title, range=[-0.5, len(values) - 0.5], **ticks, row=1, col=column)
    figure.add_hline(y=0, line={"color": "black", "width": 1})
    figure.update_yaxes(range=[min(p.low for p in found) - 1, max(p.high for p in found) + 1])
    figure.update_yaxes(title="student − teacher, points", row=1, col=1)
    figure.update_layout(
        template="simple_white", width=1200, height=460, margin={"l": 60, "r": 10, "t": 80, "b": 60},
        font={"size": 13}, legend={"orientation": "h", "y": 1.03, "yanchor": "bottom", "x": 0},
    )  # fmt: skip
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure", metavar="FILE", help="write the figure: .svg, .png or .pdf")
    options = parser.parse_args()
    found = points()
    print(table(found))
    if options.figure:
        draw(found).write_image(options.figure)


if __name__ == "__main__":
    main()
