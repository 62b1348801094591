"""Reports: sections of text, tables and pictures, rendered to Markdown, to one HTML file and to the terminal.

Names of models and files may hold anything: every text is escaped for the place where it goes.
"""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import jinja2
import pandas as pd

from utils.command import printable
from utils.image import png_size

TEMPLATE = Path(__file__).with_name("report.html.j2")
NUMBER = re.compile(
    r"([-+~<>\u00b1\u2212\u2264\u2265\u2248]*\s*[\d.\u221e].*|[-\u2013\u2014]?|[-+]?(nan|inf)|n/a)\s*", re.IGNORECASE
)
MARKDOWN = re.compile(r"[\\`*\[\]<>|~$&#]|(?<!\w)_|_(?!\w)")  # markup anywhere in a line; not an underscore in a word
LIST_ITEM = re.compile(r"^(\d*)([-+.)])(?=[\s-]|$)")  # would start a list or draw a rule


@dataclass(frozen=True)
class Table:
    """A table of text: a frame whose index holds the rows' names, and for columns the names of their best rows."""

    frame: pd.DataFrame
    caption: str = ""
    best: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def from_rows(
        cls, header: list[str], rows: list[list[str]], caption: str = "", best: dict[str, list[str]] | None = None
    ) -> "Table":
        """Make a table of a header and rows of cells; the first column holds the rows' names."""
        frame = pd.DataFrame([row[1:] for row in rows], [row[0] for row in rows], header[1:], dtype=object)
        return cls(frame.rename_axis(header[0]), caption, best or {})

    @property
    def number_columns(self) -> list[bool]:
        """Return for each column whether all its cells look like numbers, which are aligned on the right."""
        return [all(NUMBER.fullmatch(cell) for cell in self.frame.iloc[:, i]) for i in range(self.frame.shape[1])]

    def rows(self) -> Iterator[tuple[str, list[tuple[str, bool]]]]:
        """Yield each row's name and its cells, each with whether it is one of its column's best."""
        for name, cells in zip(self.frame.index, self.frame.itertuples(index=False, name=None)):
            yield name, [(cell, name in self.best.get(column, ())) for column, cell in zip(self.frame, cells)]


@dataclass(frozen=True)
class Picture:
    """A PNG file and its caption."""

    path: Path
    caption: str = ""

    @property
    def size(self) -> tuple[int, int] | None:
        """Return the height and width in pixels, None for a damaged file."""
        return png_size(self.path)

    @property
    def data(self) -> str:
        """Return the file's content in base64."""
        return base64.b64encode(self.path.read_bytes()).decode()


Sections = dict[str, list[str | Table | Picture]]  # by heading: paragraphs, tables, pictures; "": before any heading


def to_html(title: str, sections: Sections) -> str:
    """Render a report as one HTML file without scripts or links to elsewhere; pictures are embedded."""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_finalize)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(title=title, sections=sections)


def _finalize(value: object) -> object:
    return printable(value) if type(value) is str else value  # not Markup, which is escaped already


def to_markdown(title: str, sections: Sections) -> str:
    """Render a report as GitHub-flavoured Markdown; pictures are linked by file name, as they lie beside the report."""
    parts = [f"# {_escaped(title)}"]
    for heading, items in sections.items():
        if heading:
            parts.append(f"## {_escaped(heading)}")
        for item in items:
            if isinstance(item, Table):
                parts += [_paragraph(item.caption), _markdown_table(item)]
            elif isinstance(item, Picture):
                target = quote(item.path.name, errors="surrogateescape")
                parts += [f"![{_escaped(item.path.stem)}]({target})", _paragraph(item.caption)]
            else:
                parts.append(_paragraph(item))
    return "\n\n".join(filter(None, parts)) + "\n"


def _escaped(text: str) -> str:
    return MARKDOWN.sub(r"\\\g<0>", printable(text))


def _paragraph(text: str) -> str:
    return LIST_ITEM.sub(r"\1\\\2", _escaped(text))


def _markdown_table(table: Table) -> str:
    lines = [[_escaped(name) for name in (table.frame.index.name, *table.frame)]]
    lines.append([":---", *("---:" if number else ":---" for number in table.number_columns)])
    for name, cells in table.rows():
        lines.append([_escaped(name), *(f"**{_escaped(cell)}**" if best else _escaped(cell) for cell, best in cells)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def to_terminal(table: Table) -> str:
    """Render a table as aligned plain text; the best cells carry a star."""
    marked = [
        [printable(name), *(printable(cell) + "*" * best for cell, best in cells)] for name, cells in table.rows()
    ]
    frame = Table.from_rows([table.frame.index.name, *table.frame], marked).frame
    with pd.option_context("display.unicode.east_asian_width", True):
        text = frame.rename_axis(index=None, columns=frame.index.name).to_string()
    return "\n".join(filter(None, [printable(table.caption), text, "* best" if table.best else ""]))
