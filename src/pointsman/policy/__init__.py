"""Who should answer? `(Request, Signals, World) → Plan`, pure: the same three values always give the same plan.

Knows: the cards of the configured models (`catalogue`), what a request needs (`ask`), what a name means (`names`), the
gates a deployment must pass (`filters`), the terms that rank those that pass (`scores`), the words for it (`reasons`).
Does not know: how signals were measured, how a model is loaded or called, the hour, chance, logs.

Invariants: every deployment of the world is in the plan exactly once, as a candidate or as rejected with its first
failing gate; candidates stand best first by score; a plan without candidates carries a `problem`, a code of
`errors.TABLE`, and a remedy; a named model is never answered by another.

To add a gate: a code in `filters.Gate`, one function `(Ask, ModelCard, DeploymentView) → why or None`, one row of
`filters.OF_REQUEST` or `OF_MOMENT` and what it looks at in `is_plain` or `is_up`, a remedy in `reasons.REMEDIES`. To
add a score term: one function `(Ask, ModelCard, DeploymentView) → (value in [0, 1], why)`, one row of `scores.TERMS`,
one weight in `settings.StrategyWeights` and in `scores.WEIGHTS`; it then appears by itself in every plan and
explanation.
"""
