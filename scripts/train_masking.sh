#!/usr/bin/env bash
# Types of masked blocks, without noise (task masking).
#
#   TRAIN_SET=shards/train VALID_SET=shards/valid SAVE_DIR=runs scripts/train_masking.sh [more options of train.py]
#
# scripts/launch.sh tells the other settings (GPUS, PROCESSES, PRETRAIN_CKPT, TEST_SET).
set -euo pipefail
CONFIG=${CONFIG:-configs/masking.yaml} exec "$(dirname "$0")/launch.sh" "$@"
