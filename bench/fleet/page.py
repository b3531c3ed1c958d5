"""Tables of a page, written by programs: what stands between `<!-- NAME:begin -->` and `<!-- NAME:end -->`."""

from pathlib import Path


def said_on(page: Path, name: str) -> str:
    """What stands there. ValueError where the marks are missing."""
    said = page.read_text(encoding="utf-8")
    return said[said.index(f"<!-- {name}:begin -->\n") : said.index(f"<!-- {name}:end -->")].partition("\n")[2].strip()


def rewrite(page: Path, name: str, text: str) -> None:
    """Replace it. ValueError where the marks are missing."""
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
    said = page.read_text(encoding="utf-8")
    before, after = said.index(begin) + len(begin), said.index(end)
    page.write_text(said[:before] + text.strip("\n") + "\n" + said[after:], encoding="utf-8")
