#!/usr/bin/env bash
# The common body of the launchers of this folder: train on all GPUs of this machine (or on CPU processes), continuing
# where an interrupted run stopped.
#
#   CONFIG=configs/affinity.yaml TRAIN_SET=shards/train VALID_SET=shards/valid SAVE_DIR=runs scripts/launch.sh [options]
#
# VALID_SET, TEST_SET: may be left out. PRETRAIN_CKPT: checkpoint to start from, a folder or owner/model.
# Ends with status 75 when SIGTERM or SIGUSR1 stopped it: the state is stored, the same command continues.
# GPUS: device numbers (default: all that nvidia-smi lists); -1 for the CPU, then PROCESSES says how many (default 2).
set -euo pipefail
cd "$(dirname "$0")/.."
: "${CONFIG:?set CONFIG to a YAML file of configs/}"
: "${TRAIN_SET:?set TRAIN_SET to a folder of shards}" "${SAVE_DIR:?set SAVE_DIR to the folder for runs}"

if [[ -z "${GPUS:-}" ]]; then
    GPUS=$(nvidia-smi --query-gpu=index --format=csv,noheader 2>/dev/null | paste -sd' ' || true)
    GPUS=${GPUS:--1}
fi
read -r -a devices <<<"$GPUS"
if [[ "${devices[0]}" == -1 ]]; then
    processes=${PROCESSES:-2}
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
else
    processes=${#devices[@]}
fi

exec python -m trainers.launch --standalone --nproc_per_node "$processes" train.py \
    --config "$CONFIG" --train_set "$TRAIN_SET" ${VALID_SET:+--valid_set "$VALID_SET"} \
    ${TEST_SET:+--test_set "$TEST_SET"} ${PRETRAIN_CKPT:+--pretrain_ckpt "$PRETRAIN_CKPT"} \
    --save_dir "$SAVE_DIR" --gpus "${devices[@]}" --restart auto "$@"
