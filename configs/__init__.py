"""Options of a run, and the errors a user can meet. Imports nothing of the other packages."""

import os

# Idle threads of torch sleep rather than spin for milliseconds on cores that ours need (models/layers/workers.py).
# Heeded if this comes before the first import of torch, as in train.py. A user's own setting stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
