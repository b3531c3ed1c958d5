"""What happened: one Outcome for each request, and who hears of it.

`entry` writes the Outcome, `watch` counts a stream as it passes, `usage` reads token counts off the wire. `metrics`,
`log` and `stats` are sinks: they read Outcomes and know nothing of each other. No room imports this one.
"""
