"""The README's table of costs, written from a report: no figure there is typed by hand."""

from pathlib import Path

from bench.report import Report

BEGIN, END = "<!-- table:begin -->\n", "<!-- table:end -->\n"
HEADINGS = ("", "pass-through", "Pointsman, routing off", "Pointsman, `auto`")


def rewrite(page: Path, report: Report) -> None:
    """Replace what stands between the marks of `page`. ValueError where the marks are missing."""
    text = page.read_text(encoding="utf-8")
    before, after = text.index(BEGIN) + len(BEGIN), text.index(END)
    page.write_text(text[:before] + table(report) + text[after:], encoding="utf-8")


def table(report: Report) -> str:
    """The pass-through and both ways to run Pointsman, what a user feels first."""
    servers = report.servers[:3]
    rows = [
        ("CPU of a buffered request", [f"{one.buffered_auto_us or one.buffered_us:.0f} µs" for one in servers]),
        ("CPU of a streamed event, one by one", [f"{one.event_us:.1f} µs" for one in servers]),
        ("CPU of a streamed event, 1 ms apart", [f"{one.paced_event_us:.0f} µs" for one in servers]),
        ("latency added, p50 / p99", [f"{one.added_p50_ms:.2f} / {one.added_p99_ms:.2f} ms" for one in servers]),
        ("memory of the gateway, without engines", [f"{one.idle_mb:.0f} MB" for one in servers]),
        ("start to ready, without engines", [f"{one.ready_s or 0:.2f} s" for one in servers]),
    ]
    lines = [HEADINGS, ("---",) * len(HEADINGS), *((words, *cells) for words, cells in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
