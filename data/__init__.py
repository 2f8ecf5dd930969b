"""From structure files to batches. Submodules import heavy readers (gemmi, RDKit, Biopython) only where they are needed."""
