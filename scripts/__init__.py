"""Commands: each file has a `main(argv=None) -> int` and runs as `python scripts/NAME.py` or `ligare NAME`."""
