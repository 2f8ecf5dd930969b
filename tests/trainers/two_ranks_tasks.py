"""Run by torchrun in test_task_contract.py: every row of the contract on this rank's share.

usage: two_ranks_tasks.py DATA FOLDER
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from contract_rows import ROWS, SIZES, history, run_row

from trainers.distributed import process_group, rank

OPTIONS = f"{SIZES} --max_epoch 1 --lr 1e-3 --bootstrap 3"


def result(row: str, data: Path, folder: Path) -> dict[str, Any]:
    """History, final report and some weights after one epoch of a row."""
    trainer = run_row(row, data, folder / row, OPTIONS)
    report = trainer.save_dir / "final_report.json"
    weights = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
    return {
        "history": history(trainer),
        "weights": weights[:: max(len(weights) // 500, 1)].tolist(),
        "report": json.loads(report.read_text()) if report.exists() else None,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    data, out = map(Path, sys.argv[1:])
    with process_group(torch.device("cpu")):
        results = {row: result(row, data, out) for row in ROWS}
        (out / f"rank{rank()}.json").write_text(json.dumps(results))
