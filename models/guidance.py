"""Which representation serves what: the advice of `get_embeddings.py --guidance` and of docs/embeddings.md."""

from models.config import EncoderConfig
from models.named import LAYERS_OF_Z, REPRESENTATIONS, RULES, width_of

USES: dict[str, str] = {
    "h_graph": "search, clustering and maps of whole complexes; the first choice, and the smallest",
    "h_interface": "one vector a side: partners that bind alike, search by one side",
    "h_block": "one vector a residue or fragment: per-residue models, contacts, sites",
    "h_atom": "one vector an atom: atom labels, reactivity, pharmacophores",
    "z_graph": "a small regressor or classifier of your own on frozen vectors of complexes",
    "z_interface": "the same for one side; the importance of residues (docs/explain.md)",
    "z_block": "a regressor on residues, when h_block has too little in it",
    "z_atom": "a regressor on atoms; large: write it for few structures",
}
ADVICE = """\
h: what the model was trained to make. Vectors of length 1: compare them by cosine (or by distance, it orders alike).
z: scalars and inner products of the features behind h; unchanged by turning the complex, richer and far larger. Not
   of length 1: standardise the columns before a linear model, and regularise it; there are more columns than rows.
The rules for z_graph and z_interface:
  mean_std_global            mean and deviation over blocks, and the global block: for regressors, when size matters
  mean_component_normalized  mean over blocks, its three parts scaled to length 1: for cosines and search
Vectors of different checkpoints can't be compared."""


def guidance(config: EncoderConfig | None = None) -> str:
    """The advice, with the sizes of a model's vectors if its configuration is given."""
    rows = []
    for name, use in USES.items():
        size = "" if config is None else size_of(name, config)
        rows.append(f"{name:<12} {size:<15} {use}".rstrip())
    if config is None:
        rows.append("(with --checkpoint, the sizes are shown, too)")
    elif config.n_layers < LAYERS_OF_Z:
        rows.append(f"(-: this model has {config.n_layers} layers; z needs {LAYERS_OF_Z})")
    return "\n".join([*rows, "", ADVICE])


def size_of(name: str, config: EncoderConfig) -> str:
    """Numbers in a vector; both sizes where the rule decides, `-` where the model can't give it."""
    if name.startswith("z") and config.n_layers < LAYERS_OF_Z:
        return "-"
    sizes = dict.fromkeys(width_of(name, config, rule) for rule in RULES)
    return " or ".join(map(str, sizes))


assert set(USES) == set(REPRESENTATIONS), "every representation has its use"
