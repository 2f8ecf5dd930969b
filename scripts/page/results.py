"""Names of what the page makes of an upload, known to the server and to the process that does the work."""

OUT = "results"
"""Folder in that of the upload; a file of the user can't be in its way."""
TABLE, STRUCTURE, VIEW = "scores.csv", "scored.cif", "view.html"
RESULTS = (TABLE, STRUCTURE, VIEW)
GONE = "the upload is no longer there; choose the file again"
