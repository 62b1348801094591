"""Reports as one self-contained HTML file: no scripts, no links to elsewhere, pictures inside."""

import base64
import html

from utils.image import png_size
from utils.report import Block, Heading, Table, Text, marked_up, number_columns, printable

STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1c1e21; --faint: #5c6370; --line: #d5d9de; --tint: #f4f6f8;
  --link: #0b5cad; --best: #d5ecd9; }
@media (prefers-color-scheme: dark) {
  :root { --page: #16181c; --ink: #e3e6ea; --faint: #9aa3af; --line: #3a3f47; --tint: #21252b; --link: #7db7f5;
  --best: #1f4a2c; } }
body { margin: 0 auto; padding: 1.5rem 1.25rem 4rem; max-width: 72rem; background: var(--page); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1, h2, h3, h4 { line-height: 1.25; margin: 2.2em 0 .6em; overflow-wrap: anywhere; }
h1 { font-size: 1.8rem; margin-top: .3em; } h2 { font-size: 1.35rem; } h3 { font-size: 1.1rem; } h4 { font-size: 1rem; }
h2 { border-bottom: 1px solid var(--line); padding-bottom: .25em; }
p, figcaption { max-width: 46rem; overflow-wrap: anywhere; }
a { color: var(--link); }
nav ul { list-style: none; padding: .7rem 1rem; margin: 0; background: var(--tint); border-radius: 6px;
  display: inline-block; }
.level3 { padding-left: 1.2em; } .level4, .level5, .level6 { padding-left: 2.4em; }
figure { margin: 1.4rem 0; }
figcaption { color: var(--faint); font-size: .92rem; margin: .4rem 0; }
.wide { overflow-x: auto; }
img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: baseline; }
thead th { border-bottom: 2px solid var(--faint); vertical-align: bottom; }
tbody tr:hover > * { background: var(--tint); }
tbody th { position: sticky; left: 0; background: var(--page); font-weight: 500; min-width: 8.5rem; max-width: 16rem;
  overflow-wrap: anywhere; }
td { min-width: 7.5rem; max-width: 40rem; overflow-wrap: anywhere; }
.number { text-align: right; min-width: 0; white-space: nowrap; }
td strong { background: var(--best); margin: 0 -.25em; padding: .05em .25em; border-radius: 3px; }
code { background: var(--tint); border-radius: 3px; padding: .1em .3em; font-size: .92em; }
"""
PAGE_START = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>"""
PAGE_END = """</body>
</html>
"""


def to_html(title: str, blocks: list[Block]) -> str:
    """Render blocks as one HTML file without scripts or links to elsewhere; pictures are embedded as base64 PNG.

    The title becomes the heading of level 1 (one that the blocks begin with, for Markdown, is not repeated), the
    others make a table of contents. Raises ValueError that names a picture that is missing or no whole PNG.
    """
    if blocks[:1] == [Heading(title, 1)]:
        blocks = blocks[1:]
    headings = [block for block in blocks if isinstance(block, Heading)]
    entries = [
        f'<li class="level{block.level}"><a href="#section{number}">{_html_plain(block.text)}</a></li>'
        for number, block in enumerate(headings, start=1)
    ]
    contents = [f'<nav aria-label="Contents"><ul>{"".join(entries)}</ul></nav>'] if len(entries) > 1 else []
    body, number = [], 0
    for block in blocks:
        number += isinstance(block, Heading)
        body.append(_html_block(block, number))
    name = _html_plain(title)
    return "\n".join([PAGE_START.format(title=name, style=STYLE), f"<h1>{name}</h1>", *contents, *body, PAGE_END])


def _html_block(block: Block, number: int) -> str:
    """Render one block; `number` is that of the latest heading, for its anchor."""
    if isinstance(block, Heading):
        return f'<h{block.level} id="section{number}">{_html_plain(block.text)}</h{block.level}>'
    if isinstance(block, Text):
        return f"<p>{_html_text(block.text)}</p>"
    if isinstance(block, Table):
        return _html_table(block)
    size = png_size(block.path)
    if size is None:
        raise ValueError(f"{block.path}: missing or no whole PNG file, cannot be embedded in the report")
    data = base64.b64encode(block.path.read_bytes()).decode()
    text = _html_plain(block.caption.replace("`", "").replace("**", "") or block.path.stem)
    caption = f"<figcaption>{_html_text(block.caption)}</figcaption>" if block.caption else ""
    frame = f'width="{size[1]}" height="{size[0]}" style="min-width:min({size[1]}px,54rem)"'  # narrow windows scroll
    image = f'<img alt="{text}" {frame} src="data:image/png;base64,{data}">'
    return f'<figure><div class="wide">{image}</div>{caption}</figure>'


def _html_table(table: Table) -> str:
    """Render a table that scrolls sideways in its own box, under a caption that does not."""
    number = [' class="number"' if right else "" for right in number_columns(table)]
    head = "".join(f'<th scope="col"{kind}>{_html_plain(cell)}</th>' for kind, cell in zip(number, table.header))
    rows = []
    for i, row in enumerate(table.rows):
        cells = [_html_plain(cell) for cell in row]
        cells = [f"<strong>{cell}</strong>" if (i, j) in table.best else cell for j, cell in enumerate(cells)]
        first = "".join(f'<th scope="row">{cell}</th>' for cell in cells[:1])
        rows.append(first + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(number[1:], cells[1:])))
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    caption = f"<figcaption>{_html_text(table.caption)}</figcaption>" if table.caption else ""
    grid = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    return f'<figure>{caption}<div class="wide">{grid}</div></figure>'


def _html_plain(text: str) -> str:
    return html.escape(printable(text))


def _html_text(text: str) -> str:
    return marked_up(text, html.escape, lambda code: f"<code>{html.escape(code)}</code>", "<strong>{}</strong>")
