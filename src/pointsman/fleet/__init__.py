"""Which models live where: the only long-lived mutable state machine of the product."""
