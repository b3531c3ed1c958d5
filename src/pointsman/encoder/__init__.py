"""Stage 2: a multilingual encoder that is asked only where the fast signals are unsure.

Knows: how a text becomes a vector (`base`, `e5`), how long a request may wait for one (`service`), who shares whose
(`flights`), what is kept (`recent`). Does not know: models, plans, what a vector means (`signals.opinion` does).

Invariants: no request waits longer than its deadline; one text is encoded once at a time; at most `MOST_PENDING` texts
run or wait; whatever goes wrong, the stage-1 answer stands, says why in `degraded`, and is counted.
"""
