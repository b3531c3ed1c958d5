"""What verdicts taught, as a decision may know it. Below `types`, which hands it on in `World`."""

import msgspec


class Learned(msgspec.Struct, frozen=True, kw_only=True):
    """Of one model, after `n` verdicts: by how much its quality differs from what was held, a weight a feature of
    `policy.bandit`."""

    model_id: str
    weights: tuple[float, ...]
    n: float
