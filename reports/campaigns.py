"""The last figures of the long test campaigns, for whoever doubts the others.

``campaigns.jsonl`` beside this file holds one line a campaign and subject, written by ``make soak`` and
``make mutants``. It belongs to the suite, not to the rows of one report: each line says its commit.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reports.tables import Table, percent, seconds, text, whole

FILE = Path(__file__).with_name("campaigns.jsonl")
MUTANTS = "mutants"


def read(path: Path = FILE) -> list[dict[str, Any]]:
    """The lines kept so far; none where no campaign has been run."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line]


def words(records: Sequence[dict[str, Any]]) -> str:
    """What the campaigns say, in two sentences."""
    if not records:
        return "No long campaign has been run: make soak and make mutants do."
    checks = [line for line in records if line["campaign"] != MUTANTS]
    mutants = [line for line in records if line["campaign"] == MUTANTS]
    said = []
    if checks:
        failed = sum(line["failed"] for line in checks)
        cases = sum(line["cases"] for line in checks)
        said.append(
            f"Of {cases:,} cases in {len(checks)} campaigns, {failed:,} failed." if failed
            else f"None of {cases:,} cases in {len(checks)} campaigns failed."
        )  # fmt: skip
    if mutants:
        made, killed = (sum(line[name] for line in mutants) for name in ("mutants", "killed"))
        said.append(
            f"Of {made:,} small faults put into the files that the certified numbers rest on, the tests "
            f"noticed {killed:,} ({100 * killed / made:.1f} %)."
        )
    return " ".join(said)


def tables(records: Sequence[dict[str, Any]]) -> list[Table]:
    """One table of the checks by means that share nothing with the code, one of mutants by file."""
    found = []
    checks = [line for line in records if line["campaign"] != MUTANTS]
    if checks:
        columns = ["campaign", "what was checked", "cases", "failed", "what became of them", "time, s", "run"]
        lines = [
            [
                text(line["campaign"]),
                text(line["subject"]),
                whole(line["cases"]),
                whole(line["failed"]),
                text("; ".join(f"{count:,} {what}" for what, count in line["told"].items())),
                seconds(line["seconds"]),
                text(f"{line['date']}, commit {line['commit']}"),
            ]
            for line in checks
        ]
        found.append(Table("Long campaigns (make soak)", columns, lines))
    mutants = [line for line in records if line["campaign"] == MUTANTS]
    if mutants:
        columns = ["file", "mutants", "killed", "change nothing", "survived", "score", "run"]
        lines = [
            [
                text(line["subject"]),
                *(whole(line[name]) for name in ("mutants", "killed", "equivalent", "survived")),
                percent(line["score"]),
                text(f"{line['date']}, commit {line['commit']}"),
            ]
            for line in mutants
        ]
        found.append(Table("Mutation testing (make mutants); the score is the share killed", columns, lines))
    return found
