"""An experiment as decisions see it: frozen, small, of the moment."""

import msgspec


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One experiment as it stands just now. `kind`: small_large, canary, shadow or switchback.

    `control` and `treatment` are model ids, `ratio` the treatment's share of the traffic in question; `labels`: only
    requests with one of these intents or use cases, empty: all; `arm`: of a switchback, the arm whose turn it is;
    `is_over`: rolled back, so that nothing goes to the treatment on its account.
    """

    name: str
    kind: str
    control: str
    treatment: str
    ratio: float
    labels: tuple[str, ...] = ()
    arm: str = ""
    is_over: bool = False
