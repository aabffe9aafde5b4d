#!/bin/sh
# Makes the embedded model hippocampus-mri: sh examples/hippocampus-mri.sh DATA OUT
# DATA: Task04_Hippocampus of the Medical Segmentation Decathlon (a folder with dataset.json). 25 minutes on two cores with bfloat16 arithmetic.
set -e
unet3d-cli fit "$1" --out "$2/run" --filters 16,32,64,128 --precision mixed_bfloat16 --rotation 30 --deformation 4 --minutes 25
unet3d-cli evaluate "$2/run" "$1" --held-out --json "$2/figures.json"
unet3d-cli export "$2/run" --name hippocampus-mri --version 1.1.0 --card "$(dirname "$0")/hippocampus-mri.json" \
  --evaluation "$2/figures.json" --slim --out "$2/models"
