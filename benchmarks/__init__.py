"""The opponent: the same model written the plain way, to measure against."""
