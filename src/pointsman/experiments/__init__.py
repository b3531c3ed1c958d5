"""Experiments: which of two models does better, watched all the time and acted upon.

`evidence`, `verdict` decide (pure); `controller` counts what the ledger tells, asks them and moves the traffic;
`shadow` asks a second model after the answer. Who gets which arm is the router's (`policy.experiments`).
"""
