#!/usr/bin/env bash
# Sets of labels (task multilabel).
#
#   TRAIN_SET=shards/train VALID_SET=shards/valid SAVE_DIR=runs scripts/train_multilabel.sh [more options of train.py]
#
# scripts/launch.sh tells the other settings (GPUS, PROCESSES, PRETRAIN_CKPT, TEST_SET).
set -euo pipefail
CONFIG=${CONFIG:-configs/multilabel.yaml} exec "$(dirname "$0")/launch.sh" "$@"
