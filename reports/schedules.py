"""One day of one solved instance: daily profiles from a schedule CSV (powers in MW, energy in MWh, $/MWh)."""

from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from reports.draw import INK, MUTED, Panel, Picture, colour
from reports.rows import FINISHED, Results, each

WANTED_N = 5
MOST_LINES = 6  # with more ADNs than colours, single ADNs fade behind their mean
COLUMNS = (
    *("adn", "hour", "load_mw", "pv_mw", "pv_available_mw", "charge_mw", "discharge_mw", "energy_mwh"),
    *(
        "p_boundary_mw",
        "p2p_within_mw",
        "p2p_sold_mw",
        "p2p_bought_mw",
        "price_per_mwh",
        "v_min_pu",
        "v_max_pu",
    ),
)


def one_day(results: Results) -> tuple[Picture | None, pd.DataFrame | None, list[str]]:
    """The schedule whose N is nearest to 5 as a picture and its daily totals, one line an ADN.

    A finished run is preferred to a stopped one. Notes name schedules that could not be read. Without
    any readable schedule the picture and the totals are None.
    """
    notes: list[str] = []
    rows = results.rows.assign(
        distance=(results.rows["n_adns"] - WANTED_N).abs(), stopped=~results.rows["status"].isin(FINISHED)
    ).sort_values(["distance", "stopped"], kind="stable")
    for row in each(rows):
        path = results.folder / "schedules" / f"{row.run_id}.csv"
        if not row.run_id or Path(row.run_id).name != row.run_id or not path.is_file():
            continue
        try:
            schedule = read_schedule(path)
        except ValueError as error:
            notes.append(f"Schedule {path.name} was left out: {error}.")
            continue
        about = f"N = {row.n_adns}, {row.series}, seed {row.seed}, {row.status}"
        return _picture(schedule, about), _totals(schedule), notes
    return None, None, notes


def read_schedule(path: Path) -> pd.DataFrame:
    """A schedule CSV, sorted by ADN and hour. Raises ValueError saying what is wrong with it."""
    try:
        schedule = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise ValueError(" ".join(str(error).split())) from None
    missing = [name for name in COLUMNS if name not in schedule.columns]
    if missing:
        raise ValueError(f"it lacks the column {missing[0]}")
    if schedule.empty:
        raise ValueError("it has no lines")
    for name in COLUMNS:
        if not pd.api.types.is_numeric_dtype(schedule[name]):
            raise ValueError(f"column {name} holds something other than numbers")
    return schedule.sort_values(["adn", "hour"], kind="stable").reset_index(drop=True)


def _picture(schedule: pd.DataFrame, about: str) -> Picture:
    caption = (
        f"The run shown: {about}. Boundary power is the physical power at the feeder's root, positive "
        "when the feeder imports; below zero the ADN feeds the transmission network. Peer-to-peer energy "
        "is what was traded, within one ADN or between two; batteries charge where the price or the sun "
        "is favourable and return it later."
    )
    return Picture(
        "day",
        "One day of one instance",
        caption,
        (
            _load_panel(schedule),
            _lines(schedule, "p_boundary_mw", "Boundary power", "– export, + import (MW)"),
            _trade_panel(schedule),
            _lines(schedule, "energy_mwh", "Battery energy", "stored energy (MWh)"),
            _lines(schedule, "price_per_mwh", "Price at the host bus", "price ($/MWh)"),
            _voltage_panel(schedule),
        ),
    )


def _hour_axis(axes: Axes, schedule: pd.DataFrame) -> None:
    hours = sorted(schedule["hour"].unique())
    step = max(1, -(-len(hours) // 8))
    axes.set_xticks(hours[::step])
    axes.set_xlim(hours[0] - 0.6, hours[-1] + 0.6)
    axes.set_xlabel("hour")


def _lines(schedule: pd.DataFrame, column: str, title: str, label: str) -> Panel:
    """One line an ADN over the hours; with many ADNs the single lines fade behind the mean.

    Later lines are narrower, so that one that coincides with an earlier one leaves it visible.
    """
    adns = sorted(schedule["adn"].unique())

    def draw(axes: Axes) -> None:
        few = len(adns) <= MOST_LINES
        for number, adn in enumerate(adns):
            own = schedule[schedule["adn"] == adn]
            axes.plot(
                own["hour"],
                own[column],
                drawstyle="steps-mid",
                color=colour(number) if few else MUTED,
                linewidth=max(3.2 - 0.45 * number, 1.2) if few else 0.7,
                alpha=1.0 if few else 0.5,
                label=f"ADN {adn}" if few else f"each of {len(adns)} ADNs" if number == 0 else None,
            )
        if not few:
            mean = schedule.groupby("hour")[column].mean()
            axes.plot(mean.index, mean, drawstyle="steps-mid", color=colour(0), linewidth=2.4, label="mean")
        if column == "p_boundary_mw":
            axes.axhline(0, color=INK, linewidth=1)
        elif column == "energy_mwh":
            axes.set_ylim(bottom=0)
        _hour_axis(axes, schedule)
        axes.set_ylabel(label)

    low, high = schedule[column].min(), schedule[column].max()
    words = f"{label}, one line for each of {len(adns)} ADNs over the hours, from {low:.3g} to {high:.3g}."
    return Panel(title, words, draw)


def _load_panel(schedule: pd.DataFrame) -> Panel:
    total = schedule.groupby("hour")[["load_mw", "pv_mw", "pv_available_mw"]].sum()
    names = {"load_mw": "load", "pv_mw": "PV used", "pv_available_mw": "PV available"}

    def draw(axes: Axes) -> None:
        table = total.rename(columns=names).reset_index().melt("hour", var_name="what", value_name="mw")
        sns.lineplot(
            table,
            x="hour",
            y="mw",
            hue="what",
            style="what",
            hue_order=list(names.values()),
            errorbar=None,
            palette=[colour(0), colour(1), MUTED],
            dashes=["", "", (2, 2)],
            drawstyle="steps-mid",
            ax=axes,
        )
        axes.set_ylim(bottom=0)
        _hour_axis(axes, schedule)
        axes.set_ylabel("all ADNs (MW)")

    load, sun = total["load_mw"].max(), total["pv_mw"].max()
    return Panel("Load and PV", f"totals of all ADNs; load peaks at {load:.3g} MW, PV at {sun:.3g} MW.", draw)


def _trade_panel(schedule: pd.DataFrame) -> Panel:
    total = schedule.groupby("hour")[["p2p_within_mw", "p2p_sold_mw"]].sum()

    def draw(axes: Axes) -> None:
        within, across = total["p2p_within_mw"], total["p2p_sold_mw"]
        axes.bar(total.index, within, width=0.8, color=colour(0), linewidth=0, label="within an ADN")
        axes.bar(
            total.index, across, width=0.8, bottom=within, color=colour(1), linewidth=0, label="across ADNs"
        )
        axes.grid(False, axis="x")
        _hour_axis(axes, schedule)
        axes.set_ylabel("peer-to-peer power (MW)")

    inside, outside = total.sum()
    words = (
        f"stacked by hour, all ADNs; {inside:.3g} MWh within and {outside:.3g} MWh across ADNs in the day."
    )
    return Panel("Peer-to-peer trade", words, draw)


def _voltage_panel(schedule: pd.DataFrame) -> Panel:
    def draw(axes: Axes) -> None:
        band = schedule.groupby("hour").agg(low=("v_min_pu", "min"), high=("v_max_pu", "max"))
        axes.fill_between(
            band.index,
            band["low"],
            band["high"],
            step="mid",
            color=colour(2),
            alpha=0.35,
            linewidth=0,
            label="lowest to highest bus",
        )
        _hour_axis(axes, schedule)
        axes.set_ylabel("bus voltage (p.u.)")

    low, high = schedule["v_min_pu"].min(), schedule["v_max_pu"].max()
    return Panel("Voltages", f"range over all feeder buses, from {low:.3f} to {high:.3f} p.u.", draw)


def _totals(schedule: pd.DataFrame) -> pd.DataFrame:
    """Daily energy in MWh and the mean price, one line an ADN: the table behind the picture."""
    physical = schedule.assign(
        imported=schedule["p_boundary_mw"].clip(lower=0), exported=(-schedule["p_boundary_mw"]).clip(lower=0)
    )
    adns = physical.groupby("adn")
    energy = adns.sum()
    return pd.DataFrame(
        {
            "load": energy["load_mw"],
            "PV": energy["pv_mw"],
            "PV unused": energy["pv_available_mw"] - energy["pv_mw"],
            "imported": energy["imported"],
            "exported": energy["exported"],
            "discharged": energy["discharge_mw"],
            "P2P within": energy["p2p_within_mw"],
            "P2P sold across": energy["p2p_sold_mw"],
            "P2P bought across": energy["p2p_bought_mw"],
            "mean price ($/MWh)": adns["price_per_mwh"].mean(),
        }
    )
