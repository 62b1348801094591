"""What the reports of all evaluations share: their files, the table of differences, the appendix."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

from evaluation.summary import CONFIDENCE
from utils.files import write_text
from utils.report import Block, Heading, Table, to_markdown
from utils.report_html import to_html


def write_pages(folder: Path, title: str, blocks: list[Block], html: bool) -> None:
    """Write report.md and, with `html`, report.html."""
    write_text(folder / "report.md", to_markdown(blocks))
    if html:
        write_text(folder / "report.html", to_html(title, blocks))
    else:
        (folder / "report.html").unlink(missing_ok=True)  # of an earlier evaluation


def write_csv(path: Path, rows: list[dict], columns: tuple[str, ...]) -> None:
    """Write these columns of rows, others are left out."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def difference_table(
    found: dict[str, dict[str, dict]], models: list[str], reference: str, kind: str, positive: str
) -> Table:
    """Tabulate `differences` by metric; kind: what a model is called; positive: "better" or "worse"."""

    def cell(metric: str, model: str) -> str:
        value = found[metric].get(model)
        if value is None:
            return "-"
        interval = "" if math.isnan(value["low"]) else f" [{value['low']:+.3f}, {value['high']:+.3f}]"
        return f"{value['difference']:+.3f}{interval}"

    rows = [[model, *(cell(metric, model) for metric in found)] for model in models if model != reference]
    caption = (
        f"Difference to {reference}, positive: {positive} than it; in brackets its {CONFIDENCE:.0%} interval, a paired "
        "bootstrap over scenes (none for a single scene). An interval that contains 0 decides nothing."
    )
    return Table([kind, *found], rows, caption)


def appendix(definitions: dict[str, str], provenance: dict[str, Any]) -> list[Block]:
    """Definitions of the metrics, and where the numbers come from."""
    origins = [[name, value if isinstance(value, str) else json.dumps(value)] for name, value in provenance.items()]
    return [
        Heading("Definitions"),
        Table(["name", "definition"], [list(item) for item in definitions.items()]),
        Heading("Provenance"),
        Table(["what", "value"], origins),
    ]


def without_nan(content: Any) -> Any:
    """JSON knows no nan: null."""
    if isinstance(content, dict):
        return {str(key): without_nan(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
