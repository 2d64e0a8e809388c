"""What the HTML pages of `verify` and `bench` have in common: one file, no script, no font, nothing from outside."""

from collections.abc import Sequence
from html import escape

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 960px; margin: 2em auto; padding: 0 1em; color: #222 }
h1 { font-size: 1.5em; margin-bottom: 0 } h2 { font-size: 1.15em; margin-top: 2em }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; width: 100% }
th { text-align: left; border-bottom: 2px solid #999 } th, td { padding: 2px 8px 2px 0; white-space: nowrap }
tr + tr td { border-top: 1px solid #eee } tr.wrong td { background: #fdecea }
.verdict { font-weight: 600 } .ok { color: #00713d } .bad { color: #b00020 }
p.note { color: #555; font-size: 13px } svg { width: 100%; font: 12px system-ui, sans-serif } svg text { fill: #333 }
.wide { overflow-x: auto }
"""


def document(title: str, parts: Sequence[str]) -> str:
    """A page of these parts, each of them HTML."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body>\n{chr(10).join(parts)}\n</body></html>\n"
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], note: str) -> str:
    """A table of text with a note below; rows whose last column, `verdict`, is neither ok nor victim stand out."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    judged = columns[-1] == "verdict"
    body = []
    for row in rows:
        wrong = ' class="wrong"' if judged and row[-1] not in ("ok", "victim") else ""
        body.append(f"<tr{wrong}>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>")
    below = f'<p class="note">{escape(note)}</p>' if note else ""
    return f'<div class="wide"><table><tr>{head}</tr>{"".join(body)}</table></div>{below}'
