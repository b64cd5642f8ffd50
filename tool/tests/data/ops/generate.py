#!/usr/bin/env python3
"""Write one tiny network per operator variant, and what TFLite's reference kernels make of it.

    pip install -r requirements.txt && python generate.py

Every case becomes `<operator>/<variant>.tflite` and `<operator>/<variant>.npz`, next to
this script; README.md says what they hold. Each case draws from its own seed, so every
run writes the same files, and a new case changes no other. Cases which TFLite refuses
are printed with its reason and left out; README.md lists them.

To add a case, extend the function of its operator, here or in weighted.py: it yields
variants and their networks.
"""

import io
import itertools
import shutil
import zipfile
from pathlib import Path

import numpy as np

from network import (
    ACTIVATIONS, FLOAT32, INT8, PADDINGS, TYPES, UINT8, Network, Quant, around, every_code,
    extremes, mixed, noise, quant, rng_of, rounded_product, rounded_quotient,
)
from weighted import conv_2d, depthwise_conv_2d, fully_connected, transpose_conv

HERE = Path(__file__).resolve().parent


# --- pooling and reduction --------------------------------------------------------------

def pool(operator):
    def case(
        name, type, window=(2, 2), stride=(2, 2), padding="valid", fused="none",
        shape=(1, 5, 4, 3), draws=(mixed,), quantisation=None,
    ):
        net = Network(
            operator, draws, padding=PADDINGS[padding], strideH=stride[0], strideW=stride[1],
            filterHeight=window[0], filterWidth=window[1],
            fusedActivationFunction=ACTIVATIONS[fused],
        )
        net.input(shape, quantisation or quant(type))
        net.output(quantisation or quant(type))
        return f"{type}_{name}", net

    for type in TYPES:
        yield case("2x2", type, draws=(noise, extremes))
        yield case("3x3_same", type, (3, 3), (1, 1), "same")
        yield case("partly_outside", type, (4, 5), (1, 2), "same", shape=(1, 3, 3, 5))
        yield case("relu6", type, fused="relu6")
    yield case("3x3_stride_2_same", INT8, (3, 3), padding="same")
    yield case("2x2_same_odd_image", INT8, padding="same", shape=(1, 3, 5, 4))
    yield case("global", INT8, (5, 4), (1, 1))
    yield case("1x3", INT8, (1, 3), (1, 2))
    yield case("gaps", INT8, (1, 1), (2, 3), shape=(1, 5, 7, 2))
    yield case("1x1_image", INT8, (3, 3), (1, 1), "same", shape=(1, 1, 1, 9))
    yield case("33_channels", INT8, (2, 1), (1, 1), shape=(1, 3, 1, 33))
    yield case("relu", INT8, fused="relu")
    yield case("relu_n1_to_1", INT8, fused="relu_n1_to_1")
    yield case("relu_zero_20", INT8, fused="relu", quantisation=quant(INT8, 0.1, 20))
    yield case("relu6_zero_-128", INT8, fused="relu6", quantisation=quant(INT8, 0.04, -128))
    if operator == "AVERAGE_POOL_2D":
        yield case("ties", INT8, (2, 2), (1, 1), "same", draws=(around(0), around(-4)))
        yield case("ties_of_6", INT8, (2, 3), (1, 1), "same", draws=(around(0), around(-3)))
        yield case("ties", UINT8, (2, 2), (1, 1), "same", draws=(around(128), around(3)))


def mean(operator):
    def case(name, type, shape, axes, keep=False, x=None, y=None, draws=(mixed,)):
        net = Network(operator, draws, keepDims=keep)
        net.input(shape, x or quant(type))
        net.const(axes)
        net.output(y or quant(type, 0.02))
        return f"{type}_{name}", net

    image = (1, 5, 4, 3)
    sets = [axes for count in (1, 2, 3) for axes in itertools.combinations((1, 2, 3), count)]
    for index, axes in enumerate(sets):
        name = "".join(map(str, axes))
        yield case(f"axes_{name}", INT8, image, axes)
        if index % 2:
            yield case(f"axes_{name}_keep", INT8, image, axes, keep=True)
    yield case("axes_12", UINT8, image, (1, 2))
    yield case("axes_12_keep", UINT8, image, (1, 2), keep=True)
    yield case("axes_0123_keep", INT8, image, (0, 1, 2, 3), keep=True)
    yield case("axes_112", INT8, image, (1, 1, 2))
    yield case("negative_axes", INT8, image, (-3, -2))
    yield case("scalar_axis", INT8, image, 2)
    yield case("7x7", INT8, (1, 7, 7, 3), (1, 2))
    yield case("1x1_image", INT8, (1, 1, 1, 6), (1, 2), y=quant(INT8, 0.06))
    yield case("rank_3_axis_1", INT8, (1, 6, 5), (1,))
    yield case("rank_3_axis_0", INT8, (4, 3, 5), (0,))
    yield case("rank_2_axis_1", INT8, (1, 9), (1,))
    yield case("rank_2_axis_0_keep", INT8, (6, 5), (0,), keep=True)
    both = (noise, extremes)
    for type in TYPES:
        yield case("same_scales", type, image, (1, 2), x=quant(type), y=quant(type))
        yield case("eighths", type, (1, 2, 2, 12), (1, 2), x=quant(type, 0.5),
                   y=quant(type, 1.0), draws=both)
        low = np.iinfo(type).min
        yield case("zeros_low", type, image, (1, 2), x=quant(type, 0.05, low),
                   y=quant(type, 0.06, low), draws=both)
        a, b = rounded_quotient(rng_of(operator, str(type)))
        yield case("rounded_quotient", type, (1, 2, 2, 12), (1, 2), x=quant(type, a),
                   y=quant(type, b), draws=both)
    yield case("coarser_output", INT8, image, (1, 2), y=quant(INT8, 0.173))
    yield case("fine_output", INT8, image, (1, 2), y=quant(INT8, 0.0011),
               draws=(around(-3),))


# --- two operands -------------------------------------------------------------------------

IMAGE = (1, 5, 4, 3)
SHAPES = {
    "row": (1, 1, 4, 3), "column": (1, 5, 1, 3), "channel": (1, 5, 4, 1), "plane": (1, 1, 4, 1),
    "pixel": (1, 1, 1, 3), "one": (1, 1, 1, 1), "scalar": (), "rank_1": (3,), "rank_2": (4, 3),
    "rank_3": (5, 1, 3),
}


def pair(
    operator, name, left=IMAGE, right=IMAGE, quants=None, type=INT8, const=None, same=False,
    draws=(mixed,), **options,
):
    """An operator of two operands; `const`: the index of a constant one."""
    low = np.iinfo(type).min
    fit = 0.15 if operator == "MUL" else 0.06
    quants = quants or (quant(type), quant(type, 0.03, low + 137), quant(type, fit, low + 149))
    net = Network(operator, draws, **options)
    rng = rng_of(operator, name)
    for index, shape in enumerate((left, right)):
        tensor = quants[index]
        if index == const:
            net.const(rng.integers(*tensor.codes, shape, endpoint=True), tensor)
        elif index == 1 and same:
            net.again(net.operands[0])
        else:
            net.input(shape, tensor)
    net.output(quants[2])
    return name, net


def broadcasts(operator):
    """Ways to spread one operand over the other."""
    for name, shape in SHAPES.items():
        yield pair(operator, f"int8_right_{name}", right=shape)
    for name in ("row", "channel", "rank_1"):
        yield pair(operator, f"int8_left_{name}", left=SHAPES[name])
    yield pair(operator, "int8_crossed", left=SHAPES["column"], right=SHAPES["plane"])
    yield pair(operator, "int8_right_rank_1_const", right=SHAPES["rank_1"], const=1)
    yield pair(operator, "int8_left_pixel_const", left=SHAPES["pixel"], const=0)
    yield pair(operator, "int8_right_scalar_const", right=(), const=1)


def arithmetic(operator):
    multiplies = operator == "MUL"
    for type in TYPES:
        def case(name, **how):
            return pair(operator, f"{type}_{name}", type=type, **how)
        low, high = np.iinfo(type).min, np.iinfo(type).max
        yield case("plain", draws=(noise, extremes))
        for fused in ("relu", "relu6", "relu_n1_to_1") if type == INT8 else ("relu6",):
            yield case(fused, fusedActivationFunction=ACTIVATIONS[fused])
        yield case("same_scales", quants=(quant(type),) * 3)
        yield case("zeros_at_ends", quants=(
            quant(type, 0.05, high), quant(type, 0.04, low),
            quant(type, 0.4 if multiplies else 0.07, low if operator == "ADD" else high)))
        yield case("far_scales", quants=(
            quant(type, 3e-4, low), quant(type, 0.4), quant(type, 0.03 if multiplies else 0.3)))
    fine = quant(INT8, 0.05), quant(INT8, 0.02), quant(INT8, 0.0007 if multiplies else 0.03)
    yield pair(operator, "int8_fine_output", quants=fine)
    yield pair(operator, "uint8_right_pixel", right=(1, 1, 1, 3), type=UINT8)
    yield pair(operator, "int8_right_const", const=1)
    if operator == "SUB":  # requantised as ADD is
        yield pair(operator, "int8_left_row", left=SHAPES["row"])
        yield pair(operator, "int8_right_channel", right=SHAPES["channel"])
        yield pair(operator, "int8_left_rank_1_const", left=SHAPES["rank_1"], const=0)
        return
    yield from broadcasts(operator)
    yield pair(operator, "int8_same_operand", same=True)
    yield pair(operator, "int8_rank_3", left=(1, 4, 5), right=(1, 4, 1))
    if multiplies:
        a, b, c = rounded_product(rng_of(operator), 0.2)
        zeros = quant(INT8, a, 0), quant(INT8, b, 0), quant(INT8, c, 0)
        yield pair(operator, "int8_rounded_product", quants=zeros, draws=(around(0, 15),))


def selection(operator):
    for type in TYPES:
        quants = (quant(type),) * 3
        yield pair(operator, f"{type}_equal_shapes", quants=quants)
        yield pair(operator, f"{type}_right_pixel", right=SHAPES["pixel"], quants=quants)
    quants = (quant(INT8),) * 3
    yield pair(operator, "int8_right_scalar_const", right=(), const=1, quants=quants)
    yield pair(operator, "int8_left_row", left=SHAPES["row"], quants=quants)
    yield pair(operator, "int8_crossed", left=(1, 5, 1, 3), right=(1, 1, 4, 1), quants=quants)
    yield pair(operator, "int8_right_rank_2", right=SHAPES["rank_2"], quants=quants)
    yield pair(operator, "int8_scales_differ")


# --- moving data ----------------------------------------------------------------------------

def concatenation(operator):
    def case(name, shapes, axis, type=INT8, quants=None, y=None, twice=False, const=None,
             fused="none"):
        net = Network(operator, (mixed,), axis=axis, fusedActivationFunction=ACTIVATIONS[fused])
        for index, shape in enumerate(shapes):
            tensor = quants[index] if quants else quant(type)
            if index == const:
                net.const(noise_of(operator, name, shape, type), tensor)
            else:
                net.input(shape, tensor)
        if twice:
            net.again(net.operands[0])
        net.output(y or quant(type))
        return f"{type}_{name}", net

    def image(rows=3, cols=4, channels=3):
        return 1, rows, cols, channels

    for type in TYPES:
        yield case("axis_3", [image(), image(channels=2)], 3, type)
        yield case("twice", [image()], 3, type, twice=True)
        yield case("const", [image(), image(channels=2)], 3, type, const=1)
        yield case("zeros_differ", [image(), image()], 3, type, quants=(
            quant(type, zero=3), quant(type, zero=4)))
        yield case("scales_differ", [image(), image(), image(channels=1)], 3, type, quants=(
            quant(type, 0.05), quant(type, 0.031, 0), quant(type, 0.13, 100)))
    yield case("axis_1", [image(), image(rows=2)], 1)
    yield case("axis_2", [image(), image(cols=1)], 2)
    yield case("negative_axis", [image(), image(channels=5)], -1)
    yield case("negative_axis_rows", [image(), image(rows=1)], -3)
    yield case("4_inputs", [image(rows=rows) for rows in (1, 2, 3, 1)], 1)
    yield case("1_input", [image()], 3)
    yield case("rank_2", [(1, 5), (1, 3)], 1)
    yield case("rank_3", [(1, 4, 2), (1, 3, 2)], 1)
    yield case("const_first", [image(), image()], 2, const=0)
    yield case("relu", [image(), image()], 3, fused="relu")
    fine, coarse = quant(UINT8, 0.002, 0), quant(UINT8, 0.5, 255)
    yield case("scales_far", [image(), image()], 2, UINT8, (fine, coarse), quant(UINT8, 0.01))
    one = quant(UINT8, 0.05, 7)
    yield case("output_differs", [image(), image()], 2, UINT8, (one, one), quant(UINT8, 0.1, 31))
    tie = quant(UINT8, 0.5, 128)
    yield case("scale_ties", [image(), image()], 2, UINT8, (tie, tie), quant(UINT8, 1.0, 128))


def noise_of(operator, name, shape, type):
    """Constant data of any codes."""
    limits = np.iinfo(type)
    return rng_of(operator, name).integers(limits.min, limits.max, shape, endpoint=True)


def mover(operator, name, shape, operands=(), type=INT8, outputs=1, before=False, fill=None,
          y=None, **options):
    """An operator that only moves codes, with constant `operands` after or before the input.

    `fill`: a last operand, a code like those of the input.
    """
    net = Network(operator, (noise,), **options)
    if not before:
        net.input(shape, quant(type))
    for operand in operands:
        net.const(operand)
    if fill is not None:
        net.const(fill, quant(type))
    if before:
        net.input(shape, quant(type))
    for _ in range(outputs):
        net.output(y or quant(type))
    return f"{type}_{name}", net


def split(operator):
    def case(name, shape, axis, parts, type=INT8):
        return mover(operator, name, shape, [axis], type, parts, before=True, numSplits=parts)

    for axis in (1, 2, 3):
        yield case(f"axis_{axis}", (1, 4, 6, 2), axis, 2)
    yield case("axis_3", (1, 3, 4, 4), 3, 2, UINT8)
    yield case("negative_axis", (1, 3, 2, 6), -1, 3)
    yield case("3_parts", (1, 3, 6, 2), 2, 3)
    yield case("1_part", (1, 3, 4, 2), 1, 1)
    yield case("rank_2", (1, 8), 1, 4)
    yield case("rank_3", (1, 4, 5), 1, 2)


def slice_(operator):
    def case(name, shape, begin, size, type=INT8):
        return mover(operator, name, shape, [begin, size], type)

    for type in TYPES:
        yield case("inside", IMAGE, (0, 1, 2, 1), (1, 3, 2, 1), type)
    yield case("whole", IMAGE, (0, 0, 0, 0), IMAGE)
    yield case("to_the_end", IMAGE, (0, 2, 1, 0), (-1, -1, -1, 2))
    yield case("channels", IMAGE, (0, 0, 0, 1), (1, 5, 4, 2))
    yield case("rows", IMAGE, (0, 3, 0, 0), (1, 2, 4, 3))
    yield case("rank_3", (1, 6, 5), (0, 2, 1), (1, 3, -1))
    yield case("rank_2", (1, 9), (0, 4), (1, 3))
    yield case("rank_1", (9,), (4,), (3,))


def strided_slice(operator):
    def case(name, begin, end, strides=None, shape=IMAGE, type=INT8, **masks):
        operands = [begin, end, strides or (1,) * len(begin)]
        return mover(operator, name, shape, operands, type, **masks)

    for type in TYPES:
        yield case("strides", (0, 0, 1, 0), IMAGE, (1, 2, 2, 2), type=type)
        yield case("reversed", (0, -1, 0, 0), (1, -6, 4, 3), (1, -1, 1, 1), type=type)
    yield case("inside", (0, 1, 1, 0), (1, 4, 3, 2))
    yield case("past_the_end", (0, 1, 0, 0), (9, 9, 9, 9))
    yield case("before_the_start", (-9, -9, 1, 0), (1, 3, 4, 3))
    yield case("negative_begin", (0, -3, -2, 0), IMAGE)
    yield case("negative_end", (0, 0, 0, 0), (1, -1, -2, -1))
    yield case("begin_mask", (0, 2, 2, 1), IMAGE, beginMask=0b0010)
    yield case("end_mask", (0, 2, 1, 0), (1, 3, 2, 1), endMask=0b1100)
    yield case("shorter", (0, 2), (1, 4))
    yield case("ellipsis", (0, 0, 1), (1, 0, 3), ellipsisMask=0b010)
    yield case("ellipsis_empty", (0, 1, 0, 1, 0), (1, 4, 0, 3, 2), ellipsisMask=0b00100)
    yield case("new_axis", (0, 0, 1, 0), (1, 0, 4, 2), shape=(1, 6, 2), newAxisMask=0b0010)
    yield case("new_axis_first", (0, 0, 1, 0), (0, 1, 4, 2), shape=(1, 6, 2), newAxisMask=0b0001)
    yield case("new_axis_last", (0, 1, 0, 0), (1, 4, 2, 0), shape=(1, 6, 2), newAxisMask=0b1000)
    yield case("new_axis_rank_5", (0, 1, 0, 0, 0), (1, 4, 4, 3, 0), newAxisMask=0b10000)
    yield case("shrink_row", (0, 2, 0, 0), (1, 3, 4, 3), shrinkAxisMask=0b0010)
    yield case("shrink_row_column", (0, 2, 3, 0), (1, 3, 4, 3), shrinkAxisMask=0b0110)
    yield case("shrink_negative", (0, 0, 0, -1), (1, 5, 4, 0), shrinkAxisMask=0b1000)
    yield case("shrink_all", (0, 2, 3, 1), (1, 3, 4, 2), shrinkAxisMask=0b1111)
    yield case("shrink_ignores_end", (0, 2, 0, 0), (1, 0, 4, 3), shrinkAxisMask=0b0010)
    yield case("shrink_new_axis", (0, 0, 2, 0), (1, 0, 3, 2), shape=(1, 6, 2), newAxisMask=0b0010,
               shrinkAxisMask=0b0100)
    yield case("reversed_masks", (0, 0, 0, 0), (1, 0, 0, 3), (1, -1, -2, 1), beginMask=0b0110,
               endMask=0b0110)
    yield case("reversed_part", (0, 3, 0, 2), (1, 0, 4, 0), (1, -1, 1, -2))
    yield case("rank_3", (0, 1, 0), (1, 6, 4), (1, 2, 3), shape=(1, 6, 5))
    yield case("rank_2", (0, 2), (1, 8), (1, 3), shape=(1, 9))
    yield case("rank_1", (1,), (8,), (2,), shape=(9,))


def pad(operator):
    def case(name, shape, amounts, type=INT8, fill=None, y=None):
        if operator == "PADV2" and fill is None:
            fill = -77 if type == INT8 else 200
        return mover(operator, name, shape, [amounts], type, fill=fill, y=y)

    for type in TYPES:
        yield case("rows_columns", IMAGE, [(0, 0), (1, 2), (2, 1), (0, 0)], type)
        yield case("channels", IMAGE, [(0, 0), (0, 0), (0, 0), (2, 3)], type)
    yield case("everything", (1, 2, 3, 2), [(0, 0), (1, 0), (0, 2), (3, 1)])
    yield case("one_side", IMAGE, [(0, 0), (0, 1), (0, 1), (0, 0)])
    yield case("rank_3", (1, 4, 3), [(0, 0), (1, 1), (0, 2)])
    yield case("rank_2", (1, 5), [(0, 0), (2, 1)])
    if operator == "PADV2":
        yield case("with_-128", (1, 2, 3, 2), [(0, 0), (1, 1), (1, 1), (0, 0)], fill=-128)
    else:
        yield case("output_zero_differs", (1, 2, 3, 2), [(0, 0), (1, 1), (1, 1), (0, 0)],
                   y=quant(INT8, zero=50))


def reshape(operator):
    def case(name, shape, target, type=INT8, by_option=False):
        operands = [] if by_option else [target]
        return mover(operator, name, shape, operands, type, newShape=list(target))

    yield case("flatten", IMAGE, (1, 60))
    yield case("flatten", IMAGE, (1, 60), UINT8)
    yield case("inferred", IMAGE, (1, -1))
    yield case("inferred_middle", IMAGE, (1, 10, -1, 2))
    yield case("unflatten", (1, 60), (1, 3, 4, 5))
    yield case("rank_4_to_4", IMAGE, (1, 2, 15, 2))
    yield case("rank_4_to_3", IMAGE, (1, 20, 3))
    yield case("rank_3_to_4", (1, 20, 3), IMAGE)
    yield case("by_option", IMAGE, (1, 12, 5), by_option=True)


def squeeze(operator):
    def case(name, shape, axes, type=INT8):
        return mover(operator, name, shape, type=type, squeezeDims=list(axes))

    yield case("rows_columns", (1, 1, 1, 7), (1, 2))
    yield case("rows_columns", (1, 1, 1, 7), (1, 2), UINT8)
    yield case("row", (1, 1, 4, 3), (1,))
    yield case("channel", (1, 5, 4, 1), (3,))
    yield case("negative_axis", (1, 5, 4, 1), (-1,))
    yield case("all_ones", (1, 1, 4, 1), ())
    yield case("rank_3", (1, 1, 6), (1,))


def expand_dims(operator):
    for type in TYPES:
        yield mover(operator, "rank_3_axis_1", (1, 4, 3), [1], type)
    for axis in (0, 3, -2):
        yield mover(operator, f"rank_3_axis_{axis}", (1, 4, 3), [axis])
    yield mover(operator, "rank_2_axis_1", (1, 9), [1])
    yield mover(operator, "rank_2_axis_-1", (1, 9), [[-1]])


def transpose(operator):
    for order in itertools.permutations((1, 2, 3)):
        order = (0, *order)
        yield mover(operator, "".join(map(str, order)), IMAGE, [order])
    for order in ((0, 2, 1), (2, 0, 1)):
        yield mover(operator, "".join(map(str, order)), (1, 6, 5), [order])
    yield mover(operator, "102_rows", (4, 3, 5), [(1, 0, 2)])
    yield mover(operator, "10_rows", (4, 5), [(1, 0)])
    yield mover(operator, "negative", IMAGE, [(0, -1, 1, 2)])
    yield mover(operator, "0231", IMAGE, [(0, 2, 3, 1)], UINT8)


# --- code by code ----------------------------------------------------------------------------

CODES = (1, 8, 8, 4)  # room for every code


def table(operator, name, x, y, **options):
    """An operator that maps code to code: every code once."""
    net = Network(operator, (every_code,), **options)
    net.input(CODES, x)
    net.output(y)
    return f"{x.type}_{name}", net


def sigmoids(operator):
    for type in TYPES:
        low = np.iinfo(type).min
        y = quant(type, 1 / 256, low) if operator == "LOGISTIC" else quant(type, 1 / 128, low + 128)
        for scale in (0.005, 0.023, 0.05, 0.3) if type == INT8 else (0.03,):
            yield table(operator, f"scale_{scale}", quant(type, scale), y)
        yield table(operator, "zero_low", quant(type, 0.03, low), y)
        yield table(operator, "other_output", quant(type), quant(type, 0.011, low + 100))
    yield table(operator, "zero_high", quant(INT8, 0.03, 127), quant(INT8, y.scale, y.zero - 128))


def relus(operator):
    for type in TYPES:
        low = np.iinfo(type).min
        yield table(operator, "same_scales", quant(type), quant(type))
        yield table(operator, "coarser_output", quant(type, 0.05), quant(type, 0.12, low + 30))
        if type == INT8:
            yield table(operator, "finer_output", quant(type, 0.05), quant(type, 0.023, low))
            yield table(operator, "zero_high", quant(type, 0.05), quant(type, 0.05, 90))
        a, b = rounded_quotient(rng_of(operator, str(type)))
        yield table(operator, "rounded_quotient", quant(type, a), quant(type, b))


def leaky_relu(operator):
    for type in TYPES:
        x, y = quant(type, 0.05), quant(type, 0.041, 11)
        for alpha in (0.01, 0.3, 1.0, 1.7, -0.4) if type == INT8 else (0.1, 1.3):
            yield table(operator, f"alpha_{alpha}", x, y, alpha=alpha)
        yield table(operator, "same_scales", x, x, alpha=0.2)
        a, b = rounded_quotient(rng_of(operator, str(type)))
        yield table(operator, "rounded_quotient", quant(type, a), quant(type, b), alpha=0.5)
        a, b, c = rounded_product(rng_of(operator, str(type)), 0.4)
        yield table(operator, "rounded_product", quant(type, a), quant(type, c), alpha=float(b))


def prelu(operator):
    def case(name, type, shape, x=None, alpha=None, y=None, codes=None):
        x, y = x or quant(type), y or quant(type, 0.04, 13)
        alpha = alpha or quant(type, 0.01, -31 % 128)
        net = Network(operator, (mixed,))
        net.input(IMAGE, x)
        net.const(noise_of(operator, name, shape, type) if codes is None else codes, alpha)
        net.output(y)
        return f"{type}_{name}", net

    for type in TYPES:
        yield case("channels", type, (1, 1, 3))
        a, b = rounded_quotient(rng_of(operator, str(type)))
        yield case("rounded_quotient", type, (1, 1, 3), quant(type, a), None, quant(type, b))
        a, b, c = rounded_product(rng_of(operator, str(type)), 0.4)
        zero = np.iinfo(type).min + 128
        yield case("rounded_product", type, (1, 1, 3), quant(type, a, zero), quant(type, b, zero),
                   quant(type, c, zero), [[[zero + 1, zero - 1, zero + 3]]])
    yield case("same_scales", INT8, (1, 1, 3), y=quant(INT8))
    yield case("full", INT8, (5, 4, 3))
    yield case("one", INT8, (1, 1, 1))
    yield case("rank_1", INT8, (3,))
    yield case("scalar", INT8, ())
    yield case("rank_4", INT8, (1, 1, 1, 3))
    yield case("rows", INT8, (5, 1, 1))
    yield case("alpha_above_1", INT8, (1, 1, 3), alpha=quant(INT8, 0.04, 0))
    yield case("zeros_at_ends", INT8, (1, 1, 3), quant(INT8, 0.05, 127), quant(INT8, 0.01, -128),
               quant(INT8, 0.05, 127))


def hard_swish(operator):
    for type in TYPES:
        low = np.iinfo(type).min
        scales = (0.008, 0.007), (0.02, 0.015), (0.05, 0.03), (0.07, 0.09), (0.3, 0.25), (0.05, 0.2)
        for x, y in scales if type == INT8 else scales[1:4]:
            yield table(operator, f"scales_{x}_{y}", quant(type, x), quant(type, y, low + 10))
        yield table(operator, "zeros_low", quant(type, 0.04, low), quant(type, 0.04, low))
    yield table(operator, "zeros_high", quant(INT8, 0.04, 127), quant(INT8, 0.01, 127))


def quantize(operator):
    for x, y in itertools.product(TYPES, TYPES):
        yield table(operator, f"to_{y}_same_scale", quant(x), quant(y, 0.05, 60))
        yield table(operator, f"to_{y}_coarser", quant(x, 0.03), quant(y, 0.081, 17))
        yield table(operator, f"to_{y}_finer", quant(x, 0.081), quant(y, 0.03))
        if x == y:
            half = quant(x, 0.25, np.iinfo(x).min + 128), quant(y, 0.5, np.iinfo(y).min + 128)
            yield table(operator, f"to_{y}_half", *half)
        a, b = rounded_quotient(rng_of(operator, str(x), str(y)))
        yield table(operator, f"to_{y}_rounded_quotient", quant(x, a), quant(y, b))
    yield table(operator, "to_int8_same", quant(INT8), quant(INT8))
    yield table(operator, "to_uint8_flipped", quant(INT8, 0.05, -9), quant(UINT8, 0.05, 119))
    yield table(operator, "to_int8_flipped", quant(UINT8, 0.05, 119), quant(INT8, 0.05, -9))

    def ties(rng, tensor):
        """Halfway between codes of scale 0.037, or a unit in the last place off."""
        halves = np.float32(0.037) * (rng.integers(-140, 140, tensor.shape) + np.float32(0.5))
        nudged = halves * rng.choice(1 + np.array([-1, 0, 1]) * 2**-23, tensor.shape)
        return nudged.astype(np.float32)

    for y in TYPES:
        for draw in (noise, ties):
            net = Network(operator, (draw,))
            net.input(IMAGE, Quant(FLOAT32))
            net.output(quant(y, 0.037))
            yield f"float32_to_{y}_{draw.__name__}", net


def dequantize(operator):
    for type in TYPES:
        yield table(operator, "plain", quant(type, 0.037), Quant(FLOAT32))
        low = quant(type, 1 / 256, np.iinfo(type).min)
        yield table(operator, "zero_low", low, Quant(FLOAT32))


# --- images and classes ----------------------------------------------------------------------

def resize(operator):
    def case(name, size, type, shape=(1, 5, 4, 2), **options):
        net = Network(operator, (mixed,), **options)
        net.input(shape, quant(type))
        net.const(size)
        net.output(quant(type))
        return f"{type}_{name}", net

    ways = {"": {}, "_aligned": {"alignCorners": True}, "_half_pixel": {"halfPixelCenters": True}}
    for suffix, options in ways.items():
        yield case(f"twice{suffix}", (8, 6), INT8, shape=(1, 4, 3, 2), **options)
        yield case(f"down{suffix}", (3, 2), INT8, **options)
        for type in TYPES:
            yield case(f"up{suffix}", (7, 9), type, shape=(1, 4, 5, 1), **options)
    yield case("same_size", (5, 4), INT8)
    yield case("down_and_up", (3, 9), UINT8)
    yield case("half", (4, 3), INT8, shape=(1, 8, 6, 2), halfPixelCenters=True)
    yield case("to_1x1", (1, 1), INT8)
    yield case("to_1x1_aligned", (1, 1), INT8, alignCorners=True)
    yield case("from_1x1", (3, 4), INT8, shape=(1, 1, 1, 5))
    yield case("both_ways", (10, 8), INT8, alignCorners=True, halfPixelCenters=True)


def softmax(operator):
    def case(name, type, shape, scale=0.02, beta=1.0, y=None):
        net = Network(operator, (mixed,), beta=beta)
        net.input(shape, quant(type, scale))
        net.output(y or quant(type, 1 / 256, np.iinfo(type).min))
        return f"{type}_{name}", net

    for type in TYPES:
        yield case("10_classes", type, (1, 10))
        yield case("1_class", type, (1, 1))
        yield case("150_classes", type, (1, 150), 0.01)
        yield case("beta_0.3", type, (1, 12), beta=0.3)
        yield case("steep", type, (1, 12), 0.9)
        yield case("rank_4", type, (1, 3, 2, 5))
    yield case("2_classes", INT8, (1, 2), 0.01)
    yield case("beta_2", INT8, (1, 12), beta=2.0)
    yield case("flat", INT8, (1, 12), 0.001)
    yield case("rank_1", INT8, (9,))
    yield case("rank_3", INT8, (1, 4, 6))
    yield case("rows", INT8, (3, 7))
    yield case("other_output_scale", INT8, (1, 9), y=quant(INT8, 1 / 255, -128))
    yield case("other_output_zero", INT8, (1, 9), y=quant(INT8, 1 / 256, -100))
    yield case("other_output_scale", UINT8, (1, 9), y=quant(UINT8, 1 / 255, 0))


# --- all of them -----------------------------------------------------------------------------

FAMILIES = {
    "CONV_2D": conv_2d,
    "DEPTHWISE_CONV_2D": depthwise_conv_2d,
    "FULLY_CONNECTED": fully_connected,
    "TRANSPOSE_CONV": transpose_conv,
    "AVERAGE_POOL_2D": pool,
    "MAX_POOL_2D": pool,
    "MEAN": mean,
    "ADD": arithmetic,
    "SUB": arithmetic,
    "MUL": arithmetic,
    "MAXIMUM": selection,
    "MINIMUM": selection,
    "CONCATENATION": concatenation,
    "SPLIT": split,
    "SLICE": slice_,
    "STRIDED_SLICE": strided_slice,
    "PAD": pad,
    "PADV2": pad,
    "RESHAPE": reshape,
    "SQUEEZE": squeeze,
    "EXPAND_DIMS": expand_dims,
    "TRANSPOSE": transpose,
    "LOGISTIC": sigmoids,
    "TANH": sigmoids,
    "RELU": relus,
    "RELU6": relus,
    "RELU_N1_TO_1": relus,
    "LEAKY_RELU": leaky_relu,
    "PRELU": prelu,
    "HARD_SWISH": hard_swish,
    "QUANTIZE": quantize,
    "DEQUANTIZE": dequantize,
    "RESIZE_NEAREST_NEIGHBOR": resize,
    "RESIZE_BILINEAR": resize,
    "SOFTMAX": softmax,
}


def save(path, arrays):
    """As `numpy.savez_compressed`, in less room: small members need no 64-bit sizes."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.save(member, array)
            info = zipfile.ZipInfo(f"{name}.npy")  # with a fixed date
            archive.writestr(info, member.getvalue(), zipfile.ZIP_DEFLATED, 9)


def write(operator, cases):
    """The cases of one operator; how many, and the refused variants."""
    folder = HERE / operator.lower()
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    count, refused, seen = 0, [], set()
    for variant, net in cases:
        assert variant not in seen, variant
        seen.add(variant)
        try:
            content, vectors = net.run(rng_of("vectors", operator, variant))
        except (RuntimeError, ValueError) as reason:
            refused.append(f"{operator} {variant}: {' '.join(str(reason).split())}")
            continue
        (folder / f"{variant}.tflite").write_bytes(content)
        save(folder / f"{variant}.npz", vectors)
        count += 1
    return count, refused


def main():
    total, refused = 0, []
    for operator, cases in FAMILIES.items():
        count, reasons = write(operator, cases(operator))
        size = sum(file.stat().st_size for file in (HERE / operator.lower()).iterdir())
        print(f"{operator:24}{count:5} cases{size:9} bytes", flush=True)
        total += count
        refused += reasons
    print(f"{total} cases")
    print("refused:", *refused, sep="\n  ")


if __name__ == "__main__":
    main()
