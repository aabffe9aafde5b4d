"""A training loop of one's own on the embedded sample: python examples/own_training_loop.py [STEPS]

Data, batches, network, loss and metric are those of `fit`; what is done with them is here: one step after the other
with `tf.GradientTape` and Adam. Needs Keras on TensorFlow, its default. 50 steps take a few minutes at most on two CPU cores;
from Python call `main(steps=3)` for a quick look.
"""

import sys

import keras_unet3d

PATCH = (24, 48, 48)


def main(steps: int = 50) -> float:
    """Train for some steps, print the loss now and then, and return the IoU on the validation batches."""
    data = keras_unet3d.open_data("sample")
    training, validation = keras_unet3d.make_batches(data, PATCH)
    model = keras_unet3d.build_model(num_classes=data.num_classes, base_filters=8, depth=3)
    loss_function = keras_unet3d.SampleWeightedSparseCrossentropy(dice_weight=1.0)

    # After `keras_unet3d`, which chooses TensorFlow's fast kernels before TensorFlow is loaded.
    import keras
    import tensorflow as tf

    optimizer = keras.optimizers.Adam(2e-3)

    @tf.function
    def step(x, y, w):
        with tf.GradientTape() as tape:
            loss = loss_function(y, model(x, training=True), w)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    # The training batches have no end. Where nobody labelled, the weight w is 0.
    for number, (x, y, w) in enumerate(training.take(steps), 1):
        loss = step(x, y, w)
        if number == 1 or number % 10 == 0:
            print(f"step {number}: loss {float(loss):.3f}")

    iou = keras_unet3d.IoU(data.num_classes)
    for x, y, w in validation:
        iou.update_state(y, model(x, training=False), w)
    print(f"IoU on the validation batches: {float(iou.result()):.3f}")
    return float(iou.result())


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
