"""The documents: links lead somewhere, figures that stand in two places agree, pages stay short and plain."""

import re
from pathlib import Path

import pytest

from evaluation.noise_metrics import METRICS
from noise.kinds import KINDS
from tests.conftest import ROOT

PAGES = sorted(
    page
    for folder in ("", "doc", "pretrain", "benchmark", "tests/trust", "Datasets", "test", "saves", "data_preparation")
    for page in (ROOT / folder).glob("*.md")
)
CODE = re.compile(r"^(?: {4}|```).*$|`[^`]*`", re.MULTILINE)


def text_of(page: Path) -> str:
    """Return a page without its code."""
    return CODE.sub("", page.read_text(encoding="utf-8"))


def anchors_of(page: Path) -> set[str]:
    """List the anchors of a page's headings as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page):
    lost = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"https?://|mailto:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (anchor and anchor not in anchors_of(path)):
            lost.append(target)
    assert lost == []


def test_every_page_of_the_documents_is_listed():
    listed = (ROOT / "doc" / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in (ROOT / "doc").glob("*.md") if f"({page.name})" not in listed] == ["README.md"]


def test_every_script_of_a_result_is_listed_with_what_it_prints():
    listed = (ROOT / "doc" / "reproduction.md").read_text(encoding="utf-8")
    assert [path.name for path in (ROOT / "runs").glob("*.sh") if f"runs/{path.name}" not in listed] == []


def test_every_metric_and_every_noise_model_is_explained():
    page = (ROOT / "doc" / "evaluation.md").read_text(encoding="utf-8")
    assert [name for name, metric in METRICS.items() if metric.tabulated and f"`{name}`" not in page] == []
    assert [kind.name for kind in KINDS.values() if not re.search(rf"[|,] {kind.name}[ ,]", page)] == []


def rows_of(page: Path, heading: str) -> dict[tuple[str, str], list[str]]:
    """Read the table below a heading: its rows by data and model, without marks; -> the last cells, two c2st."""
    section = page.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    rows, data = {}, ""
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.replace("*", "").strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) >= 4 and not set(line) <= set("|-: "):
            data = cells[0] or data
            rows[data, re.sub(r", the strongest.*", "", cells[1])] = cells[-2:]
    return {(data, model): cells for (data, model), cells in rows.items() if data != "data"}


def test_figures_of_the_readme_are_those_of_the_results():
    short = rows_of(ROOT / "README.md", "Results")
    whole = rows_of(ROOT / "doc" / "results.md", "Told by a classifier")
    assert len(short) > 6
    assert {key: cells for key, cells in short.items() if whole.get(key) != cells} == {}


def test_pages_stay_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 140
    results, _ = (ROOT / "doc" / "results.md").read_text(encoding="utf-8").split("\n## Appendix\n")
    words = re.findall(r"\S*\w\S*", results)  # no marks of tables
    assert len(words) <= 1500


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_sentences_are_plain(page):
    text = text_of(page)
    assert re.findall(r"(?:^|[.!?] )Of [^.]*|so does a run of|\bas of\b", text, re.MULTILINE) == []
    wide = [line for line in text.splitlines() if re.fullmatch(r"\|(?:[ :-]+\|){7,}", line)]
    assert wide == []  # tables have at most six columns


PACKAGES = ["data", "evaluation", "inference", "metrics", "models", "noise", "options", "synthesis", "utils"]


@pytest.mark.parametrize("package", PACKAGES)
def test_docstrings_begin_with_what_something_does_or_is(package):
    files = list((ROOT / package).rglob("*.py"))
    riddles = re.compile(r'"""(?:Tell|Of|What|Whether|How) .*')
    assert files and [line for path in files for line in riddles.findall(path.read_text(encoding="utf-8"))] == []
