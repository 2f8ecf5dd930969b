"""The methods by which a model is saved, found again and shared."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, cast

from huggingface_hub import ModelCard, ModelHubMixin
from torch import nn

from configs.errors import CheckpointError
from models.card import model_card
from models.hub import on_hub


class HubModel(ModelHubMixin):
    """`save_pretrained`, `from_pretrained` and `push_to_hub` of every model; a mixin in front of nn.Module.

    The files are those of models.persistence: safetensors, a strict config.json, checksums, a model card.

    Attributes:
        facts: what is known about the weights (data, command, metrics, licence); stored with them, shown on the card.
        source: the folder, file or name that the model was read from; `model` for one that was not.

    Example:
        model.save_pretrained("my_model", facts={"license": "cc-by-4.0"})
        model.push_to_hub("owner/my_model", facts={"license": "cc-by-4.0"})
        model = PredictionModel.from_pretrained("owner/my_model", revision="v1")
    """

    facts: Mapping[str, Any] = MappingProxyType({})
    source: str = "model"

    def save_pretrained(  # type: ignore[override]
        self, save_directory: str | Path, facts: Mapping[str, Any] | None = None, **_: Any
    ) -> None:
        """Write weights, configuration, model card and checksums; each file is complete or absent.

        Args:
            facts: added to (or in place of) those that the model has.
        """
        from models.persistence import save_pretrained  # which itself knows the models

        save_pretrained(cast(nn.Module, self), save_directory, dict(self.facts) | dict(facts or {}))

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, pretrained_model_name_or_path: str | Path, **options: Any
    ) -> Self:
        """A stored model of this class, or of one that derives from it, in evaluation mode.

        Args:
            pretrained_model_name_or_path: a folder, or `owner/model` on the hub.
            options: for the hub: revision, token, cache_dir, local_files_only, force_download.

        Raises:
            CheckpointError: no complete, undamaged checkpoint, or one of another type.
        """
        from models.persistence import from_pretrained

        model = from_pretrained(pretrained_model_name_or_path, **options)
        if not isinstance(model, cls):
            raise CheckpointError(
                f"holds a {type(model).__name__}, not a {cls.__name__}",
                pretrained_model_name_or_path,
                hint="models.from_pretrained reads every type; models.load_weights_into takes over common weights",
            )
        return model

    def push_to_hub(  # type: ignore[override]
        self, repo_id: str, facts: Mapping[str, Any] | None = None, **options: Any
    ) -> str:
        """Make the repository if needed and upload the files of `save_pretrained` in one commit; returns its address.

        Args:
            repo_id: `owner/model`.
            facts: as in `save_pretrained`; they stay with the model.
            options: of the hub library: private, token, branch, create_pr, commit_message.

        Raises:
            CheckpointError: the hub can't be reached or refuses.
        """
        if facts:
            self.facts = dict(self.facts) | dict(facts)
        push = super().push_to_hub
        return str(on_hub(repo_id, lambda: push(repo_id, **options)))

    def generate_model_card(self, *_: Any, **__: Any) -> ModelCard:
        """The card that `save_pretrained` writes as README.md."""
        return ModelCard(model_card(cast(Any, self).config_dict(), self.facts))
