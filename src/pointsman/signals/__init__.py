"""What is it? `Request → Signals`, pure: the same request always gives the same signals.

Knows: which of a request's words count (`reading`, `orders`), how words are cut in any script (`lexis`), what phrases
speak for (`phrases`, `rulebook`, `rules.yaml`), what code and mathematics look like (`shape`), which language words
belong to (`scripts`, `ngrams`, `language`, `identify`), what is attached (`modality`), how much it is (`complexity`,
`tokens`), what all this looks like to the learned heads (`look`, `features`, `heads`), how evidence becomes a
probability (`evidence`). Does not know: models, settings beyond `routing`, the hour, chance, logs.

Invariants: `measure` never raises on any text; every probability lies in [0, 1] and every label has evidence; the text
looked at is capped, so that the cost of a prompt is bounded however long it is; a prompt cannot order its own labels.
Probabilities are calibrated on rows that the heads had not seen (`weights/HEADS.md`).

To add a signal: one pure function, one field of `Signals`, golden samples. To add a rule: an entry of `rules.yaml`.
"""
