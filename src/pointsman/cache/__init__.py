"""Answers that are given again: to an equal request, and by opt-in to one that means the same.

Knows: what determines an answer (`keys`), what is kept of it (`record`), how it becomes a stream or a body again
(`shapes`), who asks while an equal request is under way (`exact`), what means the same (`sameness`, `semantic`), where
answers lie (`memory`, `redis`, behind `guard`). Does not know: models, plans, who answers.

Invariants: a tenant's answer never reaches another; a stream is kept only when it ended whole; a record carries its own
key and is believed only under it; whatever happens to a store costs hits, never answers.
"""
