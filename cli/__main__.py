"""`python -m keras_unet3d.cli`."""

from keras_unet3d.cli import main

main()
