"""Where the figures of long campaigns are kept: one JSON line a campaign and subject, read by the report."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.files import write_whole
from benchmarks.runner import surroundings

FILE = Path(__file__).parents[1] / "reports" / "campaigns.jsonl"


def keep(campaign: str, subject: str, figures: dict[str, Any], path: Path = FILE) -> None:
    """Put a campaign's figures in the place of its last ones, with commit, date and processor."""
    told = surroundings()
    line = {
        "campaign": campaign,
        "subject": subject,
        **figures,
        "commit": told["commit"],
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": told["cpu"],
    }
    lines = [json.loads(text) for text in path.read_text("utf-8").splitlines()] if path.exists() else []
    lines = [old for old in lines if (old["campaign"], old["subject"]) != (campaign, subject)] + [line]
    lines.sort(key=lambda line: (line["campaign"], line["subject"]))
    os.makedirs(path.parent, exist_ok=True)
    write_whole(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
