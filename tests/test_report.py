"""Reports in Markdown, HTML and on the terminal, with names that hold anything."""

import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from utils.image import read_image, write_image
from utils.report import Picture, Table, to_html, to_markdown, to_terminal

NASTY = [
    "<script>alert(1)</script>",
    'a|b" onload="x',
    "*x* _y_ `z` [l](u) &lt; \\|",
    "two\nlines\x1b[31m",
    "\udcff.pth",
]
SHOWN = [*NASTY[:3], "two lines\ufffd[31m", "\ufffd.pth"]
TABLE = Table.from_rows(
    ["model", "kld", "note"],
    [[name, f"{i / 7:.3f}", "own"] for i, name in enumerate(NASTY)],
    "Cap",
    {"kld": [NASTY[1]]},
)


class Page(HTMLParser):
    """An HTML page's elements and texts; fails on tags that do not match."""

    def __init__(self, text: str):
        super().__init__()
        self.elements, self.texts, self.open = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in {"meta", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text_of(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a plot (1).png"
    write_image(path, np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8))
    return path


@pytest.fixture
def sections(picture):
    return {"": ["Plain <b>."], "Results & more": [TABLE], NASTY[0]: [Picture(picture, "The plot")]}


def split_row(line: str) -> list[str]:
    """Split a Markdown table's line into cells at its unescaped bars."""
    return [cell.strip() for cell in re.findall(r"((?:\\.|[^|\\])*)\|", line)[1:]]


def test_page_is_well_formed_and_names_in_it_stay_text(sections):
    page = Page(to_html(NASTY[0], sections))
    assert not page.all("script")
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert page.text_of("h1") == page.text_of("title") == [NASTY[0]]
    assert page.text_of("th")[3:] == SHOWN
    assert page.text_of("p") == ["Plain <b>."]


def test_page_refers_to_nothing_outside_itself(sections):
    text = to_html("Report", sections)
    page = Page(text)
    links = [a[key] for _, a in page.elements for key in ("href", "src", "srcset", "data") if key in a]
    assert links
    assert all(link.startswith(("#section", "data:image/png;base64,")) for link in links)
    assert not page.all("link")
    assert not re.search(r"https?://|url\(|@import", text)


def test_contents_lead_to_the_headings_and_stand_below_the_verdict(sections):
    page = Page(to_html("Report", sections))
    assert [tag for tag, _ in page.elements if tag in ("p", "nav", "h2")] == ["p", "nav", "h2", "h2"]
    assert [link["href"][1:] for link in page.all("a")] == [heading["id"] for heading in page.all("h2")]
    assert page.text_of("a") == page.text_of("h2") == ["Results & more", NASTY[0]]


def test_embedded_picture_decodes_to_the_pixels_of_the_file(sections, picture):
    (image,) = Page(to_html("Report", sections)).all("img")
    content = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"))
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    np.testing.assert_array_equal(decoded, read_image(picture))
    assert (image["width"], image["height"], image["alt"]) == ("9", "7", "The plot")


def test_text_in_markdown_has_no_markup_of_its_own():
    assert to_markdown("R", {"": ["*f* <g> [h](i) & j"]}) == "# R\n\n\\*f\\* \\<g\\> \\[h\\](i) \\& j\n"


def test_text_that_begins_like_a_list_stays_a_paragraph():
    assert to_markdown("R", {"": ["1. one", "- two", "# x"]}) == "# R\n\n1\\. one\n\n\\- two\n\n\\# x\n"
    assert to_markdown("R", {"": ["-0.15 at ISO 100"]}) == "# R\n\n-0.15 at ISO 100\n"


def test_table_in_markdown_has_equal_cells_in_all_rows():
    lines = to_markdown("R", {"S": [TABLE]}).strip().split("\n")
    assert lines[:6] == ["# R", "", "## S", "", "Cap", ""]
    rows = [split_row(line) for line in lines[6:]]
    assert [len(row) for row in rows] == [3] * (2 + len(NASTY))
    assert rows[1] == [":---", "---:", ":---"]
    assert [re.sub(r"\\([!-/:-@[-`{-~])", r"\1", row[0]) for row in rows[2:]] == SHOWN
    assert [row[1] for row in rows[2:4]] == ["0.000", "**0.143**"]


def test_picture_in_markdown_is_linked_by_its_quoted_file_name(picture):
    text = to_markdown("R", {"": [Picture(picture, "Cap")]})
    assert text == "# R\n\n![a plot (1)](a%20plot%20%281%29.png)\n\nCap\n"


def test_best_cells_and_numbers_are_marked_in_html(sections):
    page = Page(to_html("Report", sections))
    assert page.text_of("strong") == ["0.143"]
    assert [cell.get("class") for cell in page.all("td")] == ["number", None] * len(NASTY)


def test_table_on_the_terminal_is_aligned():
    rows = [["real", "0.5", "\u2013"], ["\u65e5\u672c", "-12.25", "x"], ["c", "nan", "y z"]]
    assert to_terminal(Table.from_rows(["model", "kld", "note"], rows, "Cap", {"kld": ["\u65e5\u672c"]})).split(
        "\n"
    ) == [
        "Cap",
        "model      kld note",
        "real       0.5    \u2013",
        "\u65e5\u672c   -12.25*    x",
        "c          nan  y z",
        "* best",
    ]
