"""From graded answers to a quality profile, and what a profile is worth: rows in, a file or a report out.

Knows: the row format (`rows`), fitting (`fit`, `join`), measures of routing and their controls (`evaluate`). Does not
know: who graded, which deployments exist, requests. The asking side, `policy.quality`, knows nothing of this room; the
learner's libraries (scikit-learn, pyarrow: the extra `learn`) are imported here, and only when something is fitted.

Invariants: the same rows and seed give the same profile; questions are split, never rows; what chooses between parts
was always measured on questions that the part had not seen.
"""
