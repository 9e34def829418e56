"""The figures of long campaigns: kept, replaced, and shown."""

import json
import tomllib
from pathlib import Path

import campaigns as kept
import pytest
from campaigns import keep

from reports import campaigns

CHECK = {"cases": 1200, "failed": 0, "told": {"certified": 1100, "infeasible": 100}, "seconds": 61}
MUTANTS = {"mutants": 200, "killed": 190, "equivalent": 8, "survived": 2, "score": 0.95}


@pytest.fixture
def path(tmp_path, monkeypatch):
    path = tmp_path / "campaigns.jsonl"
    keep("brute force", "all", CHECK, path)
    keep("mutants", "model/kkt.py", MUTANTS, path)
    return path


def test_a_campaign_takes_the_place_of_its_last_figures_only(path):
    keep("brute force", "all", CHECK | {"failed": 3}, path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["campaign"], line["subject"]) for line in lines] == [
        ("brute force", "all"),
        ("mutants", "model/kkt.py"),
    ]
    assert lines[0]["failed"] == 3 and {"commit", "date", "cpu"} <= lines[0].keys()


def test_the_report_shows_every_figure(path):
    records = campaigns.read(path)
    assert "None of 1,200 cases in 1 campaigns failed" in campaigns.words(records)
    assert "noticed 190 (95.0 %)" in campaigns.words(records)
    checks, mutants = campaigns.tables(records)
    assert [cell.text for cell in checks.lines[0]][:5] == [
        "brute force", "all", "1,200", "0", "1,100 certified; 100 infeasible"
    ]  # fmt: skip
    assert [cell.text for cell in mutants.lines[0]][:6] == ["model/kkt.py", "200", "190", "8", "2", "95 %"]
    assert all(len(line) == len(table.columns) for table in (checks, mutants) for line in table.lines)


def test_failures_are_not_hidden(path):
    keep("brute force", "all", CHECK | {"failed": 3}, path)
    assert "3 failed" in campaigns.words(campaigns.read(path))


def test_without_campaigns_the_report_says_how_to_run_them(tmp_path):
    records = campaigns.read(tmp_path / "none.jsonl")
    assert records == [] and "make soak" in campaigns.words(records) and campaigns.tables(records) == []


def test_both_rooms_mean_the_same_file():
    assert kept.FILE == campaigns.FILE


def test_every_explanation_of_a_mutant_is_of_lines_that_are_there():
    """A line that was written anew leaves its explanation behind, and its mutants without one."""
    here = Path(__file__).parent
    listed = tomllib.loads((here / "mutants_equivalent.toml").read_text())["mutant"]
    there = {
        file: {" ".join(line.split()) for line in (here.parent / file).read_text().splitlines()}
        for file in {own["file"] for own in listed}
    }
    assert listed
    for own in listed:
        assert {" ".join(line.split()) for line in own["was"].splitlines()} <= there[own["file"]], own
