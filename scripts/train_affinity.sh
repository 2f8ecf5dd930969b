#!/usr/bin/env bash
# Affinity as a sum of block energies (task PDBBind).
#
#   TRAIN_SET=shards/train VALID_SET=shards/valid SAVE_DIR=runs scripts/train_affinity.sh [more options of train.py]
#
# scripts/launch.sh tells the other settings (GPUS, PROCESSES, PRETRAIN_CKPT, TEST_SET).
set -euo pipefail
CONFIG=${CONFIG:-configs/affinity.yaml} exec "$(dirname "$0")/launch.sh" "$@"
