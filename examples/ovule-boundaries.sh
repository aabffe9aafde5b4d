#!/bin/sh
# Makes the embedded model ovule-boundaries: sh examples/ovule-boundaries.sh DATA OUT
# DATA: a folder with PlantSeg's test files 1135_mini.h5, 1136_mini.h5 and sample_ovule.h5. 13 minutes on two cores with bfloat16 arithmetic.
set -e
unet3d-cli fit "$1/1135_mini.h5" "$1/sample_ovule.h5" --out "$2/run" --target boundaries --validation-share 0 \
  --filters 16,32,64 --flips yx --optimizer adamw --ema 0.99 --epochs 40 --precision mixed_bfloat16
unet3d-cli evaluate "$2/run" "$1/1136_mini.h5" --instances --json "$2/figures.json"
unet3d-cli export "$2/run" --name ovule-boundaries --card "$(dirname "$0")/ovule-boundaries.json" \
  --evaluation "$2/figures.json" --cover "$1/1136_mini.h5" --slim --out "$2/models"
