"""Equivariant layers: feature spaces, harmonics, tensor products, norms, attention."""
