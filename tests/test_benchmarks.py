"""Programs in benchmarks/ that nobody runs often: they run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.mark.slow
def test_the_table_of_a_gpu_on_a_processor():
    command = [sys.executable, BENCHMARKS / "gpu.py", "--small"]
    environment = os.environ | {"PYTHONPATH": str(BENCHMARKS.parent)}
    printed = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed if line.startswith("| ")]
    training, prediction = rows[2:6], rows[8:]
    assert [row[:3] for row in training] == [
        ["16^3", form, place] for form in ("float32", "mixed_bfloat16") for place in ("host", "device")
    ]
    assert all(float(row[3]) > 0 and 0 < float(row[5]) < 2 and float(row[6]) > 0.1 for row in training)
    assert [row[:2] for row in prediction] == [["float32", "1"], ["float32", "2"], ["bfloat16", "1"], ["bfloat16", "2"]]
    assert all(float(row[2]) > 0 for row in prediction)
