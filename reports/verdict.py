"""The report in words: the sentences of the verdict, and how to read what follows it."""

from collections.abc import Callable
from itertools import combinations

import pandas as pd

from reports.counts import CountLaw
from reports.fits import Fit
from reports.laws import FORMULAS
from reports.rows import COUNTS, FINISHED, STATUSES
from reports.tables import percent

HOW_TO_READ = (
    (
        "ADN, N",
        "One active distribution network: a feeder with its peers, PV and batteries. N is their number.",
    ),
    (
        "Curve",
        "Runs that differ only in N and seed. Its name is the partner graph (complete: every pair of "
        "ADNs may trade; nearest:k: each ADN trades with the k nearest among those before it) and "
        "whatever else differs between runs.",
    ),
    (
        "Sizes",
        "The number of variables, binaries, rows, cones and nonzeros is known before the model is built: "
        "a + b N + c A, with A directed partner arcs. Built and predicted numbers must be equal. Nothing "
        "is fitted.",
    ),
    (
        "Exponent",
        "Times, memory and nodes are fitted by b N^p, a + b N, a + b N log N, a + b N^2, a + b N^p and "
        "b exp(c N), the constant part a being what is spent at any N: by maximum likelihood on logarithms, "
        "with runs that a limit stopped as lower limits (Tobit), the runs of one instance as one. N^p is the "
        "growing part, with the 95 % interval of p in brackets, whatever the constant part: from a bootstrap "
        "over the instances. Fewer than four sizes or eight instances are fitted by b N^p alone, fewer than "
        "three sizes not at all.",
    ),
    (
        "Law, undecided",
        "A law must pass twice: its AICc is within 2 of the least, and, fitted to the smaller sizes alone, "
        "it predicts the larger ones that were held out. Where several pass, or none, the report says "
        "undecided.",
    ),
    (
        "Normalised total",
        "The total time in units of a fixed small workload that is timed in the same process before and "
        "after each run: what machines, or a noisy hour, can be compared by.",
    ),
    (
        "Gap",
        "(objective - bound) / max(|objective|, 1 $), after an independent check of both. Bound by safe "
        "means that the bound was recomputed from dual vectors and holds whatever the solver did.",
    ),
    (
        "Status",
        "certified: the gap target is reached and every check passed; gap_limit: solved, the gap is "
        "above the target, or not known where a bound alone was asked for; time_limit, memory_limit: "
        "stopped from outside; infeasible, error: no result; "
        "skipped: not tried, because its order was refused or because a limit stopped every seed of a "
        "smaller size; the message says which.",
    ),
    (
        "Effort",
        "Methods are compared on the same instances with the same gap target and time limit, by the time of "
        "the solve. A method that ends without the gap counts as more than the time limit; one that cannot "
        "run, or whose point fails a check, has no time. One joint conic relaxation is the unit of effort.",
    ),
    (
        "Follower regret, cone violation",
        "How far the transmission operator's answer is from its own optimum, and by how much the power "
        "flow cones are missed: both near zero in a sound result.",
    ),
)


def _join(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _by_words(series_words: list[tuple[str, str]], say: Callable[[str], str]) -> list[str]:
    """Curves that share their words are named together: 'linearly with a and b'."""
    together: dict[str, list[str]] = {}
    for series, words in series_words:
        together.setdefault(words, []).append(series)
    return [f"{say(words)} with {_join(series)}" for words, series in together.items()]


def headline(laws: list[CountLaw], all_fits: list[Fit]) -> str:
    """The answer in one sentence: the law of the variables and the exponent of the solve time."""
    adverbs = {"linear": "linearly", "quadratic": "quadratically", "unknown": "by an unknown law"}
    own = {law.series: law.law for law in laws if law.count == "n_vars"}
    grown = _by_words(list(own.items()), lambda law: adverbs[law])
    size = f"Variables grow {_join(grown)}" if own else "No closed form of the variables is stated"
    fitted = [fit for fit in all_fits if fit.measure == "solve_s" and fit.fitted]
    if not fitted:
        return f"{size}; too few sizes finished to say how solve time grows."
    return (
        f"{size}; solve time grows as {_join([f'{fit.exponent_text} with {fit.series}' for fit in fitted])}."
    )


def sizes(laws: list[CountLaw], compared: pd.DataFrame) -> str:
    """Whether built counts meet their closed forms, and where the quadratic term takes over."""
    crossovers = sorted({round(law.crossover) for law in laws if law.count == "n_vars" and law.crossover})
    if not crossovers:
        return agreement(compared)
    where = _join([f"{n:,}" for n in crossovers])
    return f"{agreement(compared)} Variables of trading pairs outnumber those of the ADNs above N = {where}."


def agreement(compared: pd.DataFrame) -> str:
    """Whether the built counts equal the closed form; ``compared`` as from ``compare_counts``."""
    known = compared[compared["equal"].notna()]
    wrong = known[~known["equal"].astype(bool)]
    if known.empty:
        return "No built count could be compared with its closed form."
    if wrong.empty:
        return f"Built counts equal the closed form in all {_plural(len(known), 'comparison')}."
    first = wrong.iloc[0]
    return (
        f"MISMATCH: {len(wrong)} of {_plural(len(known), 'built count')} differ from the closed form, the "
        f"first being {COUNTS[first['count']]} at N = {first['n_adns']} with {first['series']}: built "
        f"{first['built']:,}, predicted {first['predicted']:,}."
    )


def times(all_fits: list[Fit]) -> str:
    """What the fits of the solve time tell, or why there is none."""
    own = [fit for fit in all_fits if fit.measure == "solve_s"]
    fitted, unfitted = [fit for fit in own if fit.fitted], [fit for fit in own if not fit.fitted]
    parts = []
    if fitted:
        grown = _by_words([(fit.series, fit.law) for fit in fitted], str)
        parts.append(f"Growth of solve time, by the 95 % interval of its exponent: {_join(grown)}.")
    if unfitted:
        reasons = _by_words([(fit.series, fit.law.removeprefix("no fit: ")) for fit in unfitted], str)
        parts.append(f"No growth of solve time can be fitted: {_join(reasons)}.")
    stopped = sum(fit.n_censored for fit in own)
    if stopped:
        verb = "enters the fit as a lower limit" if stopped == 1 else "enter the fits as lower limits"
        parts.append(f"{_plural(stopped, 'run')} stopped by a limit {verb}.")
    return " ".join(parts)


def challenges(all_fits: list[Fit]) -> str:
    """Which laws of the solve time foretold the sizes held out, or why that was not asked."""
    parts = []
    for fit in [fit for fit in all_fits if fit.measure == "solve_s"]:
        if fit.challenge is None:
            continue
        held, fitted = fit.challenge.held, fit.challenge.fitted
        standing = [FORMULAS[law] for law in fit.challenge.standing]
        told = _join(standing) if standing else "no law"
        parts.append(
            f"With {fit.series}, laws fitted to N = {fitted[0]} to {fitted[-1]} had to foretell the solve "
            f"time at N = {_join([str(n) for n in held])}: {told} did."
        )
    least = "six sizes of which the four smallest hold eight instances"
    return " ".join(parts) or f"Holding out the larger sizes needs {least}: no curve has that."


def _target(rows: pd.DataFrame, status: str) -> str:
    """The gap targets of the runs with this status, with their numbers of runs where they differ."""
    if status not in FINISHED:
        return ""
    counts = rows.loc[rows["status"] == status, "gap_target"].value_counts(dropna=False).sort_index()
    link = "to" if status == "certified" else "above"
    names = [f"{percent(target).text}" if pd.notna(target) else "not recorded" for target in counts.index]
    if len(names) == 1:
        return f" {link} the target of {names[0]}" if pd.notna(counts.index[0]) else " (target not recorded)"
    listed = [f"{name} ({_plural(count, 'run')})" for name, count in zip(names, counts, strict=True)]
    return f" {link} the targets of {_join(listed)}"


def same_instances(rows: pd.DataFrame) -> list[str]:
    """Sentences about sizes at which two partner graphs hold the same instances, one a pair of graphs.

    Graphs with as many arcs at an N are the same where every pair of ADNs is a partner; elsewhere the
    instances' digests must be equal too. (Digests alone do not tell: they cover the graph's name.)
    """
    recipe = ["n_adns", "seed", "hours", "network", "settlement", "congestion", "other"]
    others = rows["options"].map(lambda options: str(sorted((options | {"partners": None}).items())))
    known = rows.assign(other=others)[rows["n_arcs"].notna()]
    known = known.drop_duplicates(["partners", "instance", *recipe])
    graphs = list(dict.fromkeys(known["partners"]))
    sentences = []
    for first, second in combinations(graphs, 2):
        pairs = known[known["partners"] == first].merge(
            known[known["partners"] == second], on=recipe, suffixes=("", "_")
        )
        every_pair = pairs["n_arcs"] == pairs["n_adns"] * (pairs["n_adns"] - 1)
        digest = (pairs["instance"] == pairs["instance_"]) & (pairs["instance"] != "")
        alike = pairs.assign(same=(pairs["n_arcs"] == pairs["n_arcs_"]) & (every_pair | digest))
        by_size = alike.groupby("n_adns")["same"].all()
        same = [int(n) for n in by_size.index[by_size]]
        if not same:
            continue
        whole = len(same) > 1 and by_size.loc[: same[-1]].all()
        where = f"N <= {same[-1]}" if whole else f"N = {_join([str(n) for n in same])}"
        sentences.append(
            f"Partner graphs {first} and {second}: for {where} the two partner graphs are the same "
            "instances, so runs there are repetitions and their curves can differ at other sizes only."
        )
    return sentences


def quality(rows: pd.DataFrame) -> str:
    """Statuses with their gap targets, the largest gap and how many bounds are safe."""
    counts = {status: int((rows["status"] == status).sum()) for status in STATUSES}
    listed = [f"{count} {status}{_target(rows, status)}" for status, count in counts.items() if count]
    known = rows[rows["gap"].notna()]
    if known.empty:
        return f"Of {_plural(len(rows), 'run')}: {_join(listed)}. No run has a gap."
    worst = known.iloc[int(known["gap"].to_numpy().argmax())]
    sentence = f"Of {_plural(len(rows), 'run')}: {_join(listed)}. "
    sentence += f"The largest gap is {percent(worst['gap']).text} (N = {worst['n_adns']}, {worst['series']})"
    without = len(rows) - len(known)
    if without:
        sentence += f"; {_plural(without, 'run')} {'has' if without == 1 else 'have'} none"
    n_bounds, n_safe = int(rows["bound"].notna().sum()), int((rows["bound_by"] == "safe").sum())
    return (
        f"{sentence}. {n_safe} of {_plural(n_bounds, 'lower bound')} are safe, recomputed from dual vectors."
    )
