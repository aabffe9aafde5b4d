#!/bin/sh
# Makes the embedded model hippocampus-mri: sh examples/hippocampus-mri.sh DATA OUT
# DATA: Task04_Hippocampus of the Medical Segmentation Decathlon (a folder with dataset.json). 21 minutes on two cores.
set -e
unet3d-cli fit "$1" --out "$2/run" --ema 0.99 --deformation 4 --epochs 38 --steps-per-epoch 216
unet3d-cli evaluate "$2/run" "$1" --held-out --json "$2/figures.json"
unet3d-cli export "$2/run" --name hippocampus-mri --card "$(dirname "$0")/hippocampus-mri.json" \
  --evaluation "$2/figures.json" --slim --out "$2/models"
