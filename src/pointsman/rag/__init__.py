"""Documents beside a question: what of them is put before a model."""
