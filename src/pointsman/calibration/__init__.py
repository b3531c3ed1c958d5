"""Measures the user's own models on a built-in suite, without a judge model, and reports what each is good for.

Knows: the suite, how answers are graded, a journal that survives any end, statistics, the report. Does not know: how a
model is reached (`runner.Asker`, handed in), how a profile is fitted (`routing.Fit`, handed in).
"""
