"""Long trials of what docs/reliability.md promises: faults made for real, many times, and figures of what came of them.

`scripts/soak.py` runs them. A soak is a function (options, tell) -> `Result`; `soaks.registry` names them.
"""
