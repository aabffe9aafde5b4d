#!/bin/sh
# Makes the embedded model hippocampus-mri: sh examples/hippocampus-mri.sh DATA OUT
# DATA: Task04_Hippocampus of the Medical Segmentation Decathlon (a folder with dataset.json). About 50 minutes on two cores with bfloat16 arithmetic.
# Four networks are trained on folds 2 to 5 of benchmarks/quality.py; one network learns what they say together, and the labels of
# all volumes but 20 of fold 1, on which it is measured: neither it nor its teachers have seen those.
set -e
here=$(dirname "$0") out=$2
PYTHONPATH="$here/../benchmarks" python - "$1" "$2" <<'END'
import sys
from pathlib import Path

import quality
from keras_unet3d.files import read_json

data, out = map(Path, sys.argv[1:])
_, test = quality.folders(data, out / "fold1", 1)
description = read_json(data / "dataset.json", "a description of volumes")
held = read_json(test / "dataset.json", "a description of volumes")["training"][:20]
quality.linked(data, out / "val", description, held)
quality.linked(data, out / "learn", description, [entry for entry in description["training"] if entry not in held])
END
fit() { name=$1; shift; unet3d-cli fit "$out/fold1/training" --validation-share 0 --epochs 10 --out "$out/teachers/$name" "$@"; }
fit 1 --steps-per-epoch 200
fit 2 --steps-per-epoch 400
fit 3 --steps-per-epoch 200 --learning-rate 0.008
fit 4 --steps-per-epoch 360 --patch 32 48 32
unet3d-cli export "$2"/teachers/* --name hippocampus-teachers --slim --out "$2/models"
unet3d-cli distill "$2/models/hippocampus-teachers/1.0.0" "$2/learn" --val "$2/val" --out "$2/run" --filters 16,32,64,128 \
  --precision mixed_bfloat16 --minutes 17
unet3d-cli evaluate "$2/run" "$2/val" --json "$2/figures.json"
unet3d-cli export "$2/run" --name hippocampus-mri --version 1.1.0 --card "$here/hippocampus-mri.json" \
  --evaluation "$2/figures.json" --slim --out "$2/models"
