"""Methods over all instances together: shifted geometric means and performance profiles.

Means as in Achterberg (2007, appendix A.3), profiles as in Dolan and More (2002), both of the time of the
solve, both twice: over all instances, and over those that every method solved. A run without a certified gap,
for whatever reason, is unsolved: it counts with its time limit in a mean, and never in a profile. A method
that solves nothing at all does not decide which instances all solve.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from reports.draw import Panel, Picture, colour, log_axis
from reports.study import DEFAULT
from reports.tables import Cell, Table, number, seconds, text, whole

UNIT = "relaxation"  # a bound alone: it solves nothing
SHIFT_S = 10.0
TIMES_THE_BEST = (1, 2, 5, 10, 100)
_INSTANCE = ["n_adns", "seed", "recipe", "gap_target"]


@dataclass(frozen=True)
class Contest:
    """``solve_s`` (instances, methods), NaN where unsolved, and the time limit of each run in ``limit_s``."""

    methods: tuple[str, ...]
    solve_s: np.ndarray
    limit_s: np.ndarray

    @property
    def solved(self) -> np.ndarray:
        return np.isfinite(self.solve_s)

    @property
    def by_all(self) -> np.ndarray:
        """The instances that every method solved which solved any."""
        able = self.solved.any(axis=0)
        return np.asarray(self.solved[:, able].all(axis=1) & able.any())

    @property
    def counted_s(self) -> np.ndarray:
        """Times with the time limit in place of those that are missing."""
        return np.where(self.solved, self.solve_s, self.limit_s)


def contest(rows: pd.DataFrame) -> Contest | None:
    """All methods on the instances that all of them ran on; None where there are not two of them."""
    rows = rows[rows["method"] != UNIT]
    rows = rows.assign(
        recipe=rows["options"].map(lambda options: str(sorted(options.items()))),
        gap_target=rows["gap_target"].fillna(-1.0),
        seed=rows["seed"].fillna(-1),
        solved_s=rows["solve_s"].where((rows["status"] == "certified") & (rows["solve_s"] > 0)),
    )
    rows = rows.drop_duplicates([*_INSTANCE, "method"], keep="last").set_index([*_INSTANCE, "method"])
    ran = rows["time_limit_s"].unstack("method")
    if ran.empty:
        return None
    there = ran.notna().to_numpy()
    widest = ran.columns[there[there.sum(axis=1).argmax()]]
    methods = sorted(widest, key=lambda method: (method != DEFAULT, method))
    limits = ran[methods].dropna()
    if len(methods) < 2:
        return None
    times = rows["solved_s"].unstack("method")[methods].loc[limits.index]
    return Contest(tuple(methods), times.to_numpy(dtype=float), limits.to_numpy(dtype=float))


def shifted_mean(times: np.ndarray, shift_s: float = SHIFT_S) -> float:
    """The shifted geometric mean exp(mean(log(t + s))) - s in s; NaN of nothing."""
    return float(np.exp(np.log(times + shift_s).mean()) - shift_s) if len(times) else math.nan


def profile(times: np.ndarray, solved: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """The share of instances (factors, methods) solved within so many times the best method's time."""
    best = np.where(solved, times, np.inf).min(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        ratios = np.where(solved, times / best, np.inf)
    return np.asarray((ratios[None] <= np.asarray(factors)[:, None, None] * (1 + 1e-12)).mean(axis=1))


def means(found: Contest) -> Table:
    """Solved instances and shifted geometric means of every method."""
    alike = found.by_all
    first = [shifted_mean(found.counted_s[:, 0]), shifted_mean(found.solve_s[alike, 0])]
    lines = []
    for place, method in enumerate(found.methods):
        solves = bool(found.solved[:, place].any())
        everything = shifted_mean(found.counted_s[:, place])
        common = shifted_mean(found.solve_s[alike, place]) if solves else math.nan
        lines.append(
            [
                text(method),
                whole(found.solved[:, place].sum()),
                seconds(everything),
                number(everything / first[0]),
                seconds(common),
                number(common / first[1] if solves and first[1] else math.nan),
            ]
        )
    columns = [
        "method",
        f"solved of {len(found.solve_s)}",
        "mean over all (s)",
        f"times {found.methods[0]}'s",
        f"mean over the {int(alike.sum())} that all solve (s)",
        f"times {found.methods[0]}'s there",
    ]
    title = f"Shifted geometric means of the solve time (shift {SHIFT_S:.0f} s, unsolved at the time limit)"
    return Table(title, columns, lines)


def shares(found: Contest) -> Table:
    """The table behind the profiles."""
    lines = []
    for name, chosen in _sets(found):
        part = profile(found.solve_s[chosen], found.solved[chosen], np.array(TIMES_THE_BEST, dtype=float))
        for place, method in enumerate(found.methods):
            cells = [Cell(f"{100 * share:.0f} %", float(share), True) for share in part[:, place]]
            lines.append([text(name), text(method), *cells])
    columns = ["instances", "method", *(f"within {factor} times the best" for factor in TIMES_THE_BEST)]
    return Table("Shares of instances solved, by time over the best method's", columns, lines)


def _sets(found: Contest) -> list[tuple[str, np.ndarray]]:
    alike = found.by_all
    every = np.ones(len(alike), dtype=bool)
    return [("all", every), *([("solved by all", alike)] if alike.any() and not alike.all() else [])]


def picture(found: Contest) -> Picture | None:
    """The performance profiles; None where nothing is solved."""
    if not found.solved.any():
        return None
    panels = tuple(
        _panel(found, chosen, f"{name.capitalize()}: {int(chosen.sum())} instances")
        for name, chosen in _sets(found)
    )
    return Picture(
        "profiles",
        "Performance profiles",
        "The share of instances that a method solves to the gap within so many times the time of the fastest "
        "method there: the higher a line starts, the more often the method is the fastest; the higher it "
        "ends, the more it solves at all.",
        panels,
    )


def _panel(found: Contest, chosen: np.ndarray, title: str) -> Panel:
    times, solved = found.solve_s[chosen], found.solved[chosen]
    best = np.nanmin(np.where(solved, times, np.inf), axis=1, keepdims=True)
    ratios = (times / best)[solved & np.isfinite(best)]
    farthest = max(10.0, 1.3 * float(ratios.max()))
    factors = np.unique(np.concatenate([[1.0], ratios, np.geomspace(1.0, farthest, 60)]))
    parts = profile(times, solved, factors)

    def draw(axes: Axes) -> None:
        for place, method in enumerate(found.methods):
            style = ("-", "--", ":", "-.")[place // 6 % 4]
            axes.step(
                factors,
                100 * parts[:, place],
                where="post",
                color=colour(place),
                label=method,
                linestyle=style,
            )
        log_axis(axes, farthest)
        axes.set_xlabel("time over the fastest method's (times)")
        axes.set_ylabel("instances solved (%)")
        axes.set_ylim(-3, 103)

    told = ", ".join(
        f"{method} fastest on {100 * parts[0, place]:.0f} %, solves {100 * parts[-1, place]:.0f} %"
        for place, method in enumerate(found.methods)
    )
    return Panel(title, f"share of instances solved against time over the fastest method's; {told}.", draw)


def sentences(found: Contest) -> str:
    """The means in words."""
    everything = [shifted_mean(found.counted_s[:, place]) for place in range(len(found.methods))]
    listed = ", ".join(
        f"{method} {seconds(mean).text} s ({int(found.solved[:, place].sum())} solved)"
        for place, (method, mean) in enumerate(zip(found.methods, everything, strict=True))
    )
    return (
        f"Over {len(found.solve_s)} instances, the shifted geometric mean of the solve time, unsolved runs "
        f"at their time limit: {listed}."
    )
