"""Who may ask, how often, and who waits when too many do."""
