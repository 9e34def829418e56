"""Which runs the growth study is about: one design, in which only N, seed and partner graph differ."""

from dataclasses import dataclass, replace

import pandas as pd

from reports.rows import FINISHED, GROUP, Results, named

DEFAULT = "auto"  # the method that the study is about, where there are runs of it
SCHEME = "dso-led"  # and the coordination scheme: of the others no closed form of sizes is known
# What else differs within a design are curves beside each other.
DESIGN = tuple(name for name in (*GROUP, "gap_target") if name not in ("partners", "method", "mode"))
FEWEST_SIZES = 3
# What the counts of an instance's program depend on, beside N.
_COUNTED = ("scheme", "method", "mode", "partners", "settlement", "hours")


@dataclass(frozen=True)
class Study:
    """The runs of the design that figures, fits and verdict are about, and those of the same method besides.

    ``method`` is the default one, empty where there are no runs of it and all methods are shown.
    ``main`` and ``others`` name their growth curves each for itself; ``counted`` holds both, with curves
    named by what the sizes of the program depend on.
    """

    method: str
    main: Results
    others: pd.DataFrame
    counted: pd.DataFrame


def study(results: Results) -> Study:
    """Choose the default method's design: DSO-led, three sizes that ended, scaled network, of most sizes.

    In this order of weight: a fixed network has a change of regime where the ADNs outgrow it, so a law fitted
    across is that of neither.
    """
    rows = results.rows
    own = rows[rows["method"] == DEFAULT]
    method = DEFAULT if len(own) else ""
    own = own if len(own) else rows

    def weight(design: pd.DataFrame) -> tuple[bool, bool, bool, int, int]:
        n_sizes = design.loc[design["status"].isin(FINISHED), "n_adns"].nunique()
        is_scaled = bool((design["network"] == "scaled").all())
        is_led = bool((design["scheme"] == SCHEME).all())
        return is_led, n_sizes >= FEWEST_SIZES, is_scaled, n_sizes, len(design)

    designs = [design for _, design in own.groupby(list(DESIGN), sort=False, dropna=False)]
    chosen = max(designs, key=weight)
    others = own.drop(chosen.index)
    return Study(
        method,
        replace(results, rows=named(chosen, GROUP)),
        named(others, (*GROUP, "gap_target")),
        named(own, _COUNTED),
    )


def words(main: pd.DataFrame) -> str:
    """The design in words: scheme, network, congestion and gap target."""
    first = main.iloc[0]
    target = "" if pd.isna(first["gap_target"]) else f", to a gap of {100 * first['gap_target']:.3g} %"
    return f"{first['scheme']}, {first['network']} network, {first['congestion']} congestion{target}"
