"""The local web page: `python scripts/app.py`."""
