"""Which options may differ between a run and its continuation. Every option is in one of these four sets."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from configs.errors import ConfigError
from configs.options import nearest
from configs.schema import RunConfig, option_types

EVERYTHING = "all"

# Where the run is and how it was asked for: may differ without a word.
SILENT = frozenset({"restart", "resume", "pretrain_state", "save_dir", "local_rank", "allow_changes"})

# Which machine does the work, what is told and kept of it, and when it ends: accepted, and said. Other batches of the
# validation, other kernels and deterministic algorithms change sums by rounding only.
HARMLESS = frozenset(
    """gpus num_workers kernels deterministic valid_batch_size valid_max_n_vertex_per_gpu
    progress log_every use_tensorboard use_wandb wandb_project wandb_entity use_raytune run_name
    save_every_steps save_topk lora_merge test_set bootstrap final_report
    max_minutes patience max_bad_steps rank_timeout shard""".split()
)

# When the run ends, which is harmless unless the schedule of learning rates ends with it.
LENGTH = frozenset({"max_epoch", "max_steps"})

# Everything else makes another run of it.
DECISIVE = frozenset(
    """task train_set train_set2 train_set3 valid_set valid_set2 valid_set3
    batch_size max_n_vertex_per_gpu max_n_vertex_per_item balanced_sampler shuffle
    atom_noise translation_noise rotation_noise torsion_noise max_rotation mask_proportion
    atom_weight tr_weight rot_weight tor_weight mask_weight
    atom_hidden_size block_hidden_size edge_size k_neighbors n_layers dropout bottom_global_message_passing
    global_message_passing fragmentation_method modality_embedding padding unknown_blocks torsion_neighbors conv
    projection block_embedding_size block_embedding0_size block_embedding1_size num_projector_layers
    projector_hidden_size projector_dropout
    num_classifier_classes num_targets num_pred_layers pred_hidden_size pred_dropout pred_nonlinearity
    noisy_nodes_weight
    model block_encoding hash_dim block_embed_dim top_k top_k_blocks hidden_dims n_heads transformer_ff_dim
    transformer_pooling transformer_dropout n_attention_layers target_types
    min_obs_per_ligand label_loss asl_gamma_pos asl_gamma_neg asl_clip focal_alpha focal_gamma
    loss_config phase_boundaries band_tau band_beta band_mode
    targets label_transform temperature label_unit standardise missing_labels regression_loss class_weights
    partial_finetune freeze unfreeze_at_epoch head_lr encoder_lr lora_rank lora_alpha lora_dropout lora_targets
    lr final_lr lr_schedule warmup_epochs warmup_start_lr warmup_end_lr cycle_steps monitor metric_min_better grad_clip
    accumulate weight_decay mixed_precision ema_decay valid_every seed
    pretrain_ckpt pretrain_config pretrain_weights""".split()
)

# Options that name something outside, whose fingerprint tells whether it is the same: data sets, the vocabulary.
NAMED = frozenset(
    {"train_set", "train_set2", "train_set3", "valid_set", "valid_set2", "valid_set3", "fragmentation_method"}
)


def changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Names of the options that differ, but for silent ones; one that an older version didn't know had its default."""
    defaults = default_values()
    names = sorted({*old, *new} - SILENT)
    return [name for name in names if old.get(name, defaults.get(name)) != new.get(name, defaults.get(name))]


def default_values() -> dict[str, Any]:
    """Every option as it is when nobody gives it, in the form that a run folder keeps."""
    return json.loads(json.dumps(RunConfig().flat()))


def refused(names: Iterable[str], allowed: Iterable[str], schedule_ends: bool) -> list[str]:
    """Those of the changed options that would change what the run comes to, and are not allowed to.

    Args:
        allowed: of --allow_changes. schedule_ends: whether the schedule of learning rates ends with the run.

    Raises:
        ConfigError: --allow_changes names an option that there is not.
    """
    allowed = set(allowed)
    known = {name for names_of_group in option_types().values() for name in names_of_group}
    for name in sorted(allowed - known - {EVERYTHING}):
        raise ConfigError(f"no option is called {name!r}", "--allow_changes", hint=nearest(name, known))
    decisive = DECISIVE | LENGTH if schedule_ends else DECISIVE
    return [name for name in names if name in decisive and not {name, EVERYTHING} & allowed]
