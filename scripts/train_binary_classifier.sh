#!/usr/bin/env bash
# Two classes of complexes (task binary_classifier).
#
#   TRAIN_SET=shards/train VALID_SET=shards/valid SAVE_DIR=runs scripts/train_binary_classifier.sh [more options of train.py]
#
# scripts/launch.sh tells the other settings (GPUS, PROCESSES, PRETRAIN_CKPT, TEST_SET).
set -euo pipefail
CONFIG=${CONFIG:-configs/binary_classifier.yaml} exec "$(dirname "$0")/launch.sh" "$@"
