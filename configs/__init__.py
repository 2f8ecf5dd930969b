"""Options of a run, and the errors a user can meet. Imports nothing of the other packages."""

import os

# Idle threads of torch spin for some 0.2 ms before they sleep, not for 7 ms: threads of ours need their cores
# (models/layers/workers.py). Torch's OpenMP library reads this when torch is first imported, so this has to come
# before, as in train.py. A user's own setting stays.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
