#!/usr/bin/env python3
"""Compare the zoo's networks with TFLite's reference kernels, byte by byte.

    pip install -r requirements.txt && cargo build --release && python compare_with_tflite.py

Has `pipeit zoo` write the networks, runs each with TFLite on random pictures and on noise,
and has `pipeit verify` compare the outputs under several plans. Leaves nothing behind, and
fails if TFLite refuses a network, a byte differs, or a network gives one output for
different pictures.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import argparse
import json
import subprocess
import tempfile
import warnings
from pathlib import Path

import numpy as np
import tensorflow as tf

warnings.filterwarnings("ignore", message=".*tf.lite.Interpreter is deprecated.*")

ROOT = Path(__file__).resolve().parents[2]


def frame(rng, shape, index):
    """Codes of an input: even frames are blotches of random size, odd ones are noise."""
    if index % 2:
        return rng.integers(-128, 127, shape, np.int8, endpoint=True)
    _, height, width, channels = shape
    cells = rng.integers(1, 9)
    blotches = rng.integers(-128, 127, (cells, cells, channels), np.int8, endpoint=True)
    rows, columns = np.arange(height) * cells // height, np.arange(width) * cells // width
    return blotches[np.ix_(rows, columns)][np.newaxis]


def references(network, goldens, frames, rng):
    """Writes `in_K.npy` and TFLite's `ref_K.npy` to `goldens`; the outputs."""
    interpreter = tf.lite.Interpreter(
        model_path=str(network),
        experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_REF,
        num_threads=1,
    )
    interpreter.allocate_tensors()
    [source], [result] = interpreter.get_input_details(), interpreter.get_output_details()
    outputs = []
    for index in range(frames):
        codes = frame(rng, source["shape"], index)
        interpreter.set_tensor(source["index"], codes)
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(result["index"]))
        np.save(goldens / f"in_{index}.npy", codes)
        np.save(goldens / f"ref_{index}.npy", outputs[-1])
    return outputs


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="networks; all of the zoo without any")
    parser.add_argument("--pipeit", default=ROOT / "target/release/pipeit", help="the program")
    parser.add_argument("--frames", type=int, default=4, help="inputs per network")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and inputs")
    args = parser.parse_args()

    def pipeit(*words):
        command = [args.pipeit, *map(str, words)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    with tempfile.TemporaryDirectory() as folder:
        chosen = args.names or ["--all"]
        report = pipeit("zoo", *chosen, "--seed", args.seed, "-o", folder, "--json")
        for network in json.loads(report)["written"]:
            goldens = Path(folder, network["name"])
            goldens.mkdir()
            rng = np.random.default_rng(args.seed)
            outputs = references(network["path"], goldens, args.frames, rng)
            verdict = pipeit("verify", network["path"], "--goldens", goldens).strip()
            classes = [int(output.argmax()) for output in outputs]
            tops = [int(output.max()) + 128 for output in outputs]
            print(f"{network['name']}: {verdict}; classes {classes} at {tops}/256", flush=True)
            if len({output.tobytes() for output in outputs}) < args.frames:
                raise SystemExit(f"{network['name']}: one output for different inputs")


if __name__ == "__main__":
    main()
