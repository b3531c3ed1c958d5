"""What the gateway itself costs, measured beside a bare pass-through of the same stack in the same run."""
