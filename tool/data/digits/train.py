#!/usr/bin/env python3
"""Train the digits demo network, quantise it to int8 and write its test vectors.

    pip install -r requirements.txt && python train.py

Trains a small CNN on scikit-learn's handwritten digits (8x8 pixels), converts it
to a full-integer TFLite model with a static batch of 1, and runs it with TFLite's
reference kernels on the held-out images. All files are written next to this
script; see README.md for what they are.

The seeds are fixed and TensorFlow's deterministic ops are on, so runs on one
machine agree. Other machines may round differently and end up with slightly
different weights: the committed files are the truth, this script is how they
were made.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # fewer machine-dependent kernels

from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tensorflow.keras import layers

HERE = Path(__file__).resolve().parent
SEED = 1
HELD_OUT = 450
EPOCHS = 60
BATCH = 32
SAMPLE_CLASSES = (0, 2, 3, 7, 9)
ALLOWED_OPS = {
    "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "AVERAGE_POOL_2D", "MAX_POOL_2D",
    "MEAN", "ADD", "CONCATENATION", "PAD", "RESHAPE", "SOFTMAX",
}


def load():
    """Digits as 8-bit grey pictures [N,8,8], split into training and held-out sets."""
    digits = load_digits()
    pixels = np.rint(digits.images * 255 / 16).astype(np.uint8)
    return train_test_split(
        pixels, digits.target.astype(np.uint8),
        test_size=HELD_OUT, stratify=digits.target, random_state=SEED,
    )


def to_input(pixels):
    """Grey pixels 0..255 to the real-valued network input 0..1 [N,8,8,1]."""
    return (pixels.astype(np.float32) / 255)[..., None]


def augment(images, rng):
    """Rotate, scale and shift every image a little."""
    centre = np.array([3.5, 3.5])
    out = np.empty_like(images)
    for i, image in enumerate(images):
        angle, scale = np.deg2rad(rng.uniform(-12, 12)), rng.uniform(0.9, 1.1)
        c, s = np.cos(angle) * scale, np.sin(angle) * scale
        matrix = np.array([[c, -s], [s, c]])
        offset = centre - matrix @ centre + rng.uniform(-0.7, 0.7, 2)
        out[i, ..., 0] = ndimage.affine_transform(image[..., 0], matrix, offset, order=1)
    return out


def build():
    """A real CNN in miniature: many kinds of layers, of uneven cost."""

    def conv(x, channels, size, relu=True):
        x = layers.Conv2D(channels, size, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(momentum=0.9)(x)
        return layers.ReLU()(x) if relu else x

    def separable_residual(x):
        y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
        y = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(y))
        y = conv(y, x.shape[-1], 1, relu=False)
        return layers.ReLU()(layers.Add()([x, y]))

    image = layers.Input((8, 8, 1))
    x = conv(image, 32, 3)
    x = conv(x, 32, 3)
    x = separable_residual(x)
    x = layers.Concatenate()([conv(x, 16, 1), conv(x, 32, 3)])
    x = layers.MaxPooling2D(2)(x)
    x = conv(x, 64, 3)
    x = separable_residual(x)
    x = layers.AveragePooling2D(2)(x)
    x = layers.Flatten()(x)
    x = layers.Dropout(0.3)(x)
    x = layers.Dense(64, activation="relu")(x)
    x = layers.Dropout(0.3)(x)
    return tf.keras.Model(image, layers.Dense(10, activation="softmax")(x))


def train(model, x, y):
    rng = np.random.default_rng(SEED)
    steps = EPOCHS * -(-len(x) // BATCH)
    model.compile(
        optimizer=tf.keras.optimizers.Adam(tf.keras.optimizers.schedules.CosineDecay(2e-3, steps)),
        loss=tf.keras.losses.CategoricalCrossentropy(label_smoothing=0.05),
        metrics=["accuracy"],
    )
    targets = np.eye(10, dtype=np.float32)[y]
    for epoch in range(EPOCHS):
        order = rng.permutation(len(x))
        log = model.fit(
            augment(x[order], rng), targets[order], batch_size=BATCH, shuffle=False, verbose=0
        ).history
        if (epoch + 1) % 10 == 0:
            print(f"epoch {epoch + 1}: loss {log['loss'][0]:.4f} accuracy {log['accuracy'][0]:.4f}")


def quantise(model, calibration):
    """Full-integer post-training quantisation, batch 1, int8 in and out."""
    image = layers.Input(batch_shape=(1, 8, 8, 1), name="image")
    converter = tf.lite.TFLiteConverter.from_keras_model(tf.keras.Model(image, model(image)))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([x[None]] for x in calibration)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    return converter.convert()


def run_reference(tflite, pixels):
    """Quantise pixels as the model wants them; return (int8 inputs, int8 outputs)."""
    interpreter = tf.lite.Interpreter(
        model_content=tflite,
        experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_REF,
        num_threads=1,
    )
    interpreter.allocate_tensors()
    ops = [op["op_name"] for op in interpreter._get_ops_details()]
    print("ops:", " ".join(ops))
    assert set(ops) <= ALLOWED_OPS, set(ops) - ALLOWED_OPS

    source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    assert source["dtype"] == sink["dtype"] == np.int8
    scale, zero_point = source["quantization"]
    print(f"input: scale {scale!r} zero point {zero_point}; output: {sink['quantization']}")
    inputs = np.rint(to_input(pixels) / np.float32(scale)) + zero_point
    inputs = np.clip(inputs, -128, 127).astype(np.int8)

    outputs = []
    for image in inputs:
        interpreter.set_tensor(source["index"], image[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(sink["index"])[0])
    return inputs, np.stack(outputs)


def write_samples(pixels, labels, predicted):
    """One PNG per sample class: digit_<class>_<n>, the n-th held-out image of its class."""
    folder = HERE / "samples"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("digit_*.png"):
        old.unlink()
    for digit in SAMPLE_CLASSES:
        rows = np.flatnonzero(labels == digit)
        n = np.flatnonzero(predicted[rows] == digit)[0]  # the first one read correctly
        Image.fromarray(pixels[rows[n]]).save(folder / f"digit_{digit}_{n}.png")


def main():
    tf.keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.threading.set_intra_op_parallelism_threads(1)

    train_pixels, test_pixels, train_labels, test_labels = load()
    model = build()
    train(model, to_input(train_pixels), train_labels)
    float_predicted = model.predict(to_input(test_pixels), verbose=0).argmax(1)

    tflite = quantise(model, to_input(train_pixels))
    inputs, expected = run_reference(tflite, test_pixels)
    assert (inputs[..., 0] == test_pixels.astype(int) - 128).all()  # input scale is 1/255
    predicted = expected.argmax(1)
    for name, got in (("float", float_predicted), ("int8", predicted)):
        right = int((got == test_labels).sum())
        print(f"{name}: {right} of {HELD_OUT} held-out images right, {right / HELD_OUT:.2%}")

    (HERE / "digits.tflite").write_bytes(tflite)
    (HERE / "labels.txt").write_text("".join(f"{digit}\n" for digit in range(10)))
    np.save(HERE / "images.npy", inputs)
    np.save(HERE / "labels.npy", test_labels)
    np.save(HERE / "expected.npy", expected)
    write_samples(test_pixels, test_labels, predicted)


if __name__ == "__main__":
    main()
