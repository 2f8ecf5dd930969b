"""Types of masked blocks, without noise."""

from typing import Any

from models.backbone import Representation
from models.config import MaskedNodeConfig
from models.layers.mlp import masked_ffn
from models.losses import masked_base, masked_loss
from models.outputs import MaskedOutput
from models.prediction_model import PredictionModel
from models.pretrain_model import masked_rows


class MaskedNodeModel(PredictionModel):
    """Probabilities of the type of each masked block (`masked_blocks`, `masked_labels` of the batch)."""

    Config: type = MaskedNodeConfig

    def __init__(self, config: MaskedNodeConfig) -> None:
        super().__init__(config)
        self.masked_ffn = masked_ffn(config.atom_hidden_size, config.num_masked_block_classes, config.dropout)

    def predict(self, batch: Any, found: Representation) -> MaskedOutput:
        rows, labels = masked_rows(batch, found)
        logits = self.masked_ffn(found.head_blocks[rows])
        loss = masked_loss(logits, labels)
        return MaskedOutput(
            *(found.unit_repr, found.block_repr, found.graph_repr, loss),
            terms={"masked_loss": loss, "masked_base": masked_base(logits)},
            representation=found,
            pred=logits.softmax(1),
            logits=logits,
        )
