"""Options of a run, and the errors a user can meet. Imports nothing of the other packages."""
