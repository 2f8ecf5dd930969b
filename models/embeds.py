"""The methods by which a model embeds what a user has: files, folders, an index, items."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from data.failures import Failure
    from models.named import Rule


class Embeds:
    """A mixin of models that have an encoder."""

    def embed(
        self,
        source: Any,
        representations: str | Sequence[str] = "h_graph",
        rule: "Rule | None" = None,
        **options: Any,
    ) -> "pd.DataFrame":
        """Vectors of everything in an input, as one frame.

        Args:
            source: structure file, list of them, folder, index CSV, folder of shards, or items (`data.item.Item`).
            representations: one or several of one level: h_atom, h_block, h_graph, h_interface, z_atom, z_block,
                z_graph, z_interface (docs/embeddings.md). rule: mean_std_global or mean_component_normalized, needed
                by z_graph and z_interface.
            options: chain1, chain2, lig_code, lig_resi, lig_smiles, ligand_path and the others of
                `data.inputs.InputOptions`; max_blocks (computed at a time).

        Returns:
            A frame with the index `id` (of the interface); columns: the input's own ones, what each row is
            (segment_ids, block_chain, block_resid, ...), and one for each representation with a vector in each cell:
            `np.stack(frame["h_graph"])` is a matrix. `frame.attrs["failures"]` lists what gave no item.

        Raises:
            LigareError: of a single structure file, what is wrong with it; of others, that nothing could be made.

        Example:
            model.embed("1abc.pdb", chain1="A", chain2="B")
        """
        import pandas as pd

        from data.write_table import nothing_made

        failures: list[Failure] = []
        frames = list(self.embed_many(source, representations, rule, failures=failures, **options))
        if not frames:
            raise nothing_made(failures, source)
        frame = pd.concat(frames)
        frame.attrs["failures"] = [failure._asdict() for failure in failures]
        return frame

    def embed_many(
        self,
        source: Any,
        representations: str | Sequence[str] = "h_graph",
        rule: "Rule | None" = None,
        failures: "list[Failure] | None" = None,
        **options: Any,
    ) -> "Iterator[pd.DataFrame]":
        """The frames of `embed`, one a batch, made while they are asked for: memory stays that of a batch.

        Args:
            failures: a list that takes up what gave no item.
        """
        from models.embed import embed_frames
        from models.named import Wanted

        names = (representations,) if isinstance(representations, str) else tuple(representations)
        return embed_frames(self, source, Wanted(names, rule), failures=failures, **options)
