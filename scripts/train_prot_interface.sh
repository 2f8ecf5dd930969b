#!/usr/bin/env bash
# One side of an interface finds its complex (task prot_interface).
#
#   TRAIN_SET=shards/train VALID_SET=shards/valid SAVE_DIR=runs scripts/train_prot_interface.sh [more options of train.py]
#
# scripts/launch.sh tells the other settings (GPUS, PROCESSES, PRETRAIN_CKPT, TEST_SET).
set -euo pipefail
CONFIG=${CONFIG:-configs/prot_interface.yaml} exec "$(dirname "$0")/launch.sh" "$@"
