"""Where weights come from, and how they get onto this machine whole.

Knows: Python packages as containers of data, URLs, files, hashes, the layout of the weight cache. Does not know:
engines, models' settings beyond their `Source`, the network's addresses (pip's own configuration names the index).
Invariant: a path that leaves this room names bytes that were checked against their pin, in full, once.

How to add an origin: one file with a class that satisfies `base.Origin`, one line in `WeightStore.origin`.
"""
