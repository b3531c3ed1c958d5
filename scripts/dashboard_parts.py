"""What a page of Grafana is made of, and the few forms of PromQL that all pages ask in."""

from dataclasses import dataclass

GOOD, WARN, BAD, CALM = "green", "orange", "red", "blue"

Thresholds = tuple[tuple[float | None, str], ...]
PLAIN: Thresholds = ((None, CALM),)


@dataclass(frozen=True)
class Panel:
    """`asks`: pairs of legend and PromQL. `kind`: stat, series, stack, bars (one each), states (a timeline)."""

    title: str
    asks: tuple[tuple[str, str], ...]
    kind: str = "series"
    unit: str = "short"
    width: int = 8
    height: int = 8
    about: str = ""
    limits: Thresholds = PLAIN
    highest: float | None = None
    lowest: float | None = None
    colours: tuple[tuple[str, str], ...] = ()
    words: tuple[tuple[float, str, str], ...] = ()


@dataclass(frozen=True)
class Row:
    """A heading; the panels below it are packed from left to right."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    name: str
    title: str
    about: str
    rows: tuple[Row, ...]
    variables: tuple[tuple[str, str], ...] = ()


def p(quantile: float, metric: str, by: str = "", where: str = "") -> str:
    """A quantile of a histogram."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({quantile}, sum by ({labels}) (rate({metric}_bucket{where}[$__rate_interval])))"


def rate(metric: str, by: str = "", where: str = "") -> str:
    grouped = f"sum by ({by}) " if by else "sum"
    return f"{grouped}(rate({metric}{where}[$__rate_interval]))"


def a_minute(metric: str, by: str = "", where: str = "") -> str:
    """For what is rare: how many in a minute, whatever the page's zoom."""
    grouped = f"sum by ({by}) " if by else "sum"
    return f"60 * {grouped}(rate({metric}{where}[$__rate_interval]))"


OF_MODEL = '{model=~"$model"}'
REQUESTS = "agent_router_requests_total"
FAILED = f'sum(rate({REQUESTS}{{status="error"}}[$__rate_interval])) or vector(0)'
FAILED_SHARE = f'({FAILED}) / sum(rate({REQUESTS}{{status!="client_error"}}[$__rate_interval]))'
LATENCY = "agent_router_latency_seconds"
FIRST = "agent_router_time_to_first_token_seconds"
SHARE_LIMITS: Thresholds = ((None, GOOD), (0.001, WARN), (0.01, BAD))
MEMORY_LIMITS: Thresholds = ((None, GOOD), (0.8, WARN), (0.95, BAD))
STATUS_COLOURS = (
    ("success", "green"),
    ("error", "red"),
    ("refused", "orange"),
    ("client_error", "yellow"),
    ("client_closed", "purple"),
)
HEALTH = ((0, "open", BAD), (0.5, "half open", WARN), (1, "closed", GOOD))
YES_NO = ((0, "away", BAD), (1, "up", GOOD))
