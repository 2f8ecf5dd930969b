"""Readers against damaged files: `python -m scripts.fuzzing.fuzz`."""
