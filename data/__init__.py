"""From structure files to batches. Heavy readers (gemmi, RDKit, Biopython) are imported only where they are needed."""
