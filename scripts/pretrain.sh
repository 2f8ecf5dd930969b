#!/usr/bin/env bash
# Pretrain on all GPUs of this machine, continuing where an interrupted run stopped.
#
#   TRAIN_SET=shards/train VALID_SET=shards/valid SAVE_DIR=runs scripts/pretrain.sh [more options of train.py]
#
# scripts/launch.sh tells the other settings (GPUS, PROCESSES, PRETRAIN_CKPT, TEST_SET).
set -euo pipefail
CONFIG=${CONFIG:-configs/pretrain.yaml} exec "$(dirname "$0")/launch.sh" "$@"
