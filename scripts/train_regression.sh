#!/usr/bin/env bash
# Measured numbers from the representation of the complex (task regression).
#
#   TRAIN_SET=shards/train VALID_SET=shards/valid SAVE_DIR=runs scripts/train_regression.sh [more options of train.py]
#
# scripts/launch.sh tells the other settings (GPUS, PROCESSES, PRETRAIN_CKPT, TEST_SET).
set -euo pipefail
CONFIG=${CONFIG:-configs/regression.yaml} exec "$(dirname "$0")/launch.sh" "$@"
