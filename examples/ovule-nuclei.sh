#!/bin/sh
# Makes the embedded model ovule-nuclei: sh examples/ovule-nuclei.sh DATA OUT
# DATA: a folder with PlantSeg's test files 1135_mini.h5 and 1136_mini.h5. 7.5 minutes on two cores, with tests beside.
set -e
unet3d-cli fit "$1/1135_mini.h5" --out "$2/run" --target cells --validation-share 0 --epochs 30 --steps-per-epoch 60
unet3d-cli evaluate "$2/run" "$1/1136_mini.h5" --instances --json "$2/figures.json"
unet3d-cli export "$2/run" --name ovule-nuclei --card "$(dirname "$0")/ovule-nuclei.json" \
  --evaluation "$2/figures.json" --cover "$1/1136_mini.h5" --slim --out "$2/models"
