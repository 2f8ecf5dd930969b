#!/usr/bin/env bash
# The tables of docs/results.md about tasks: trivial predictors, the composition model (without geometry), models from
# scratch, and models from our pretrained checkpoint, on the same splits by group, from the structure data.
#
#   INTERFACE_DATA=../shared/data OUT=results scripts/reproduce_results.sh
#
# It can be stopped; the same command continues. OUT gets shards, splits, TABLE/baselines, TABLE/composition,
# TABLE/scratch, TABLE/pretrained and tables.md. On two CPU cores it takes about an hour as it stands; a GPU may take larger settings.
# For trying it out: EVERY=15 FOLDS=2 SEEDS=1 STEPS=2 BOOTSTRAP=5 OUT=try scripts/reproduce_results.sh
set -euo pipefail
cd "$(dirname "$0")/.."

INTERFACE_DATA=${INTERFACE_DATA:-../shared/data}   # has pretrain, ppi_affinity, pl_affinity, multilabel
OUT=${OUT:-results}
CHECKPOINT=${CHECKPOINT:-checkpoints/pretrain_small}
TABLES=${TABLES:-"ppi_affinity pl_affinity pocket_type pocket_bound masking prot_interface"}
MODELS=${MODELS-"composition scratch pretrained"} # empty: stop at the trivial predictors
SEEDS=${SEEDS:-"1 2 3"}
FOLDS=${FOLDS:-3}                # of ppi_affinity: each complex is tested once, its group unseen in training
TEST_FRACTION=${TEST_FRACTION:-0.2} # of the other tasks with labels, whole groups
PPI_EPOCHS=${PPI_EPOCHS:-3} PL_EPOCHS=${PL_EPOCHS:-2} TYPE_EPOCHS=${TYPE_EPOCHS:-8} BOUND_EPOCHS=${BOUND_EPOCHS:-2}
MASKING_STEPS=${MASKING_STEPS:-120} PAIR_STEPS=${PAIR_STEPS:-60} # within one epoch
ENCODING=${ENCODING:-rank_pool}  # of the blocks, for the composition model; tasks with labels only
COMPOSITION_EPOCHS=${COMPOSITION_EPOCHS:-40}
CROP=${CROP:-64}                 # blocks of an item
BUDGET=${BUDGET:-400}            # blocks of a batch
PAIRS=${PAIRS:-16}               # pairs of a step of prot_interface
STEPS=${STEPS:-}                 # largest number of steps of any run (empty: no limit)
LR=${LR:-1e-3}
DEVICES=${DEVICES:-"-1 -1"}      # one run at a time on each: two CPU processes; 0 for one GPU
JOBS=${JOBS:-2}                  # processes that read structures
BOOTSTRAP=${BOOTSTRAP:-500}      # resamples of the intervals
EVERY=${EVERY:-1}                # only every so many-th row of the tables of structures
PYTHON=${PYTHON:-python}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# The sizes of the checkpoint, for models from scratch as well.
SIZES=${SIZES:-"--atom_hidden_size 16 --block_hidden_size 16 --edge_size 16 --n_layers 2 --k_neighbors 8
    --global_message_passing --fragmentation_method PS_300"}

read -r -a seeds <<<"$SEEDS"
read -r -a devices <<<"$DEVICES"
read -r -a sizes <<<"${SIZES//$'\n'/ }"
read -r -a tables <<<"$TABLES"
read -r -a models <<<"$MODELS"
mkdir -p "$OUT/shards" "$OUT/splits" "$OUT/tables"

log() { echo "[$(date +%H:%M:%S)] $*"; }
done_with() { [[ -f "$1/manifest.json" ]]; }

structures() { # shards of the interfaces of one index
    local name=$1
    done_with "$OUT/shards/$name" && return
    log "structures of $name"
    awk -v every="$EVERY" 'NR == 1 || NR % every == 0' "$INTERFACE_DATA/$name/interfaces.csv" >"$OUT/shards/$name.csv"
    "$PYTHON" scripts/process_pdbs.py --data_index_file "$OUT/shards/$name.csv" --root "$INTERFACE_DATA" \
        --out_path "$OUT/shards/$name" --n_jobs "$JOBS"
}

pockets() { # shards of labelled pockets: type or bound
    local kind=$1 rare=()
    done_with "$OUT/shards/pocket_$kind" && return
    log "pockets, $kind"
    [[ $EVERY == 1 ]] || rare=(--min_families 2 --min_items 4)
    "$PYTHON" scripts/make_pockets.py "$INTERFACE_DATA/multilabel/chain_het_contacts.csv" --root "$INTERFACE_DATA" \
        --task "$kind" --out_path "$OUT/shards/pocket_$kind" --every "$EVERY" "${rare[@]}"
}

split() { # folds of whole groups, or with 1 a single split of them
    local name=$1 number=$2 how=(--folds "$2" --valid_fraction 0.15)
    [[ -f "$OUT/splits/$name/split.csv" ]] && return
    log "split of $name"
    [[ $number == 1 ]] && how=(--valid_fraction 0.1 --test_fraction "$TEST_FRACTION")
    "$PYTHON" scripts/split_data.py "$OUT/shards/$name" --split group "${how[@]}" --seed 42 --no_similarity \
        --out_path "$OUT/splits/$name"
}

held_out() { # the families that the checkpoint was not pretrained on are the test set
    [[ -e "$OUT/splits/pretrain/test" ]] && return
    log "split of the interfaces without labels"
    local whole="$OUT/splits/pretrain_whole" part="$OUT/splits/pretrain"
    [[ -f "$whole/split.csv" ]] || "$PYTHON" scripts/split_data.py "$OUT/shards/pretrain" --split group \
        --valid_fraction 0.1 --seed 42 --no_similarity --out_path "$whole"
    [[ -f "$part/split.csv" ]] || "$PYTHON" scripts/split_data.py "$whole/train" --split group \
        --valid_fraction 0.1 --seed 42 --no_similarity --out_path "$part"
    cp -r "$whole/valid" "$part/test"
}

compare() { # table, task, split, epochs, options of train.py for this task
    local table=$1 task=$2 split="$OUT/splits/$3" epochs=$4
    shift 4
    local place="$OUT/tables/$table" predictors=$task baselines=() steps=()
    [[ $task == PDBBind ]] && predictors=regression
    [[ -n $STEPS ]] && steps=(--max_steps "$STEPS") # given last, so that it counts
    [[ $predictors == regression || $task == *classifier ]] && baselines=(--checkpoint "$CHECKPOINT")
    [[ $table == ppi_affinity ]] && baselines+=(--subset prodigy_)
    if [[ ! -f "$place/baselines/baselines.json" ]]; then
        log "baselines of $table"
        "$PYTHON" scripts/baselines.py "$split" --task "$predictors" --out "$place/baselines" --bootstrap "$BOOTSTRAP" \
            "${baselines[@]}"
    fi
    local start
    for start in "${models[@]}"; do
        log "$table, $start"
        local given=("${sizes[@]}") last=()
        if [[ $start == composition ]]; then
            [[ ${#baselines[@]} == 0 ]] && continue # no labels to learn
            given=(--model composition --fragmentation_method PS_300 --block_encoding "$ENCODING" --hidden_dims 128,64)
            last=(--max_n_vertex_per_gpu None --batch_size 64 --max_epoch "$COMPOSITION_EPOCHS" --patience 12)
        fi
        [[ $start == pretrained ]] && given=(--pretrain_ckpt "$CHECKPOINT")
        "$PYTHON" scripts/cross_validate.py "$split" --out_path "$place/$start" --seeds "${seeds[@]}" \
            --devices "${devices[@]}" --resample groups --bootstrap "$BOOTSTRAP" -- --task "$task" "${given[@]}" \
            --max_epoch "$epochs" --lr "$LR" --max_n_vertex_per_item "$CROP" --shuffle --grad_clip 1 \
            --no_progress --no_use_tensorboard --bootstrap 0 "$@" "${last[@]}" "${steps[@]}"
    done
}

for table in "${tables[@]}"; do
    case $table in
        ppi_affinity)
            structures "$table" && split "$table" "$FOLDS"
            compare "$table" PDBBind "$table" "$PPI_EPOCHS" --final_lr 1e-4 --max_n_vertex_per_gpu "$BUDGET" --monitor rmse
            ;;
        pl_affinity)
            structures "$table" && split "$table" 1
            compare "$table" PDBBind "$table" "$PL_EPOCHS" --final_lr 1e-4 --max_n_vertex_per_gpu "$BUDGET" --monitor rmse
            ;;
        pocket_type)
            pockets type && split "$table" 1
            compare "$table" multiclass_classifier "$table" "$TYPE_EPOCHS" --max_n_vertex_per_gpu "$BUDGET" \
                --monitor balanced_accuracy --class_weights balanced
            ;;
        pocket_bound)
            pockets bound && split "$table" 1
            compare "$table" binary_classifier "$table" "$BOUND_EPOCHS" --max_n_vertex_per_gpu "$BUDGET" --monitor auroc
            ;;
        masking)
            structures pretrain && held_out
            compare "$table" masking pretrain 1 --max_n_vertex_per_gpu "$BUDGET" --mask_proportion 0.15 \
                --monitor loss --max_steps "$MASKING_STEPS"
            ;;
        prot_interface)
            structures pretrain && held_out
            compare "$table" prot_interface pretrain 1 --batch_size "$PAIRS" --monitor mean_reciprocal_rank \
                --max_steps "$PAIR_STEPS"
            ;;
        affinity) # not among TABLES as they stand: TABLES=affinity
            for name in ppi_affinity pl_affinity; do
                given=(--folds 37 --repeats 1)
                [[ $name == ppi_affinity ]] && given=(--repeats 5 --subset prodigy_ skempi_)
                structures "$name"
                [[ -f "$OUT/affinity/$name/scores.md" ]] || "$PYTHON" scripts/fit_affinity.py "$OUT/shards/$name" \
                    --checkpoint "$CHECKPOINT" --out "$OUT/affinity/$name" "${given[@]}"
            done
            continue
            ;;
        planted) # likewise
            "$PYTHON" scripts/planted.py --out "$OUT/planted" --n_jobs "$JOBS"
            continue
            ;;
        *)
            echo "reproduce_results: unknown table $table" >&2
            exit 2
            ;;
    esac
    "$PYTHON" scripts/collect_results.py "$OUT/tables" --out "$OUT/tables.md" --subset prodigy_ --bootstrap "$BOOTSTRAP" \
        >/dev/null
done
log "tables in $OUT/tables.md"
[[ ! -f "$OUT/tables.md" ]] || cat "$OUT/tables.md"
