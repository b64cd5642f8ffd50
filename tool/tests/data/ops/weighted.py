"""The cases of the operators with weights: convolutions and fully connected layers.

All of them requantise 32-bit sums, so they share the variants that vary the numbers;
each adds those of its geometry. The real multiplier is the scale of the input times that
of the weights over that of the output.
"""

import numpy as np

from network import (
    ACTIVATIONS, INT32, INT8, PADDINGS, TYPES, Network, Quant, extremes, mixed, noise,
    quant, rng_of, rounded_product,
)


def draw_weights(rng, type, shape, zero, spread):
    """Codes within `spread` of the zero point, or the ends of the range (`"ends"`)."""
    low, high = np.iinfo(type).min, np.iinfo(type).max
    if spread == "ends":
        return rng.choice([low, high], shape)
    if spread is None:
        return rng.integers(low + (type == INT8), high, shape, endpoint=True)
    return np.clip(rng.integers(zero - spread, zero + spread, shape, endpoint=True), low, high)


def rms(values):
    """Root of the mean square, at least 1."""
    return max(1.0, float(np.sqrt(np.mean(np.square(np.asarray(values, float))))))


def weighted(
    name, operator, x_shape, w_shape, w_axis, taps, options, *, type=INT8, channelwise=True,
    zero_in=None, zero_out=None, zero_w=None, spread=None, multiplier=None, scales=None,
    bias=True, lead=None, draws=(mixed,),
):
    """A convolution of any kind, or a fully connected layer.

    `taps`: products per output. `w_axis`: the output channels' dimension. `multiplier`:
    the real multiplier, one or a list to take turns among the channels; by default such
    that noise fills the output's range. `scales`: those of input, weights and output
    instead. `bias`: `None` leaves the operand out, `"absent"` marks it as left out.
    `lead`: a constant before the weights.
    """
    rng = rng_of(operator, name)
    x = quant(type, rng.uniform(0.02, 0.04), zero_in)
    y = quant(type, rng.uniform(0.05, 0.07), zero_out)
    if zero_w is None:
        zero_w = 0 if type == INT8 else 133
    weights = draw_weights(rng, type, w_shape, zero_w, spread)
    low, high = x.codes
    if multiplier is None:
        sums = np.sqrt(taps) * rms(np.arange(low, high + 1) - x.zero) * rms(weights - zero_w)
        multiplier = 48 / sums
        if type == INT8 and channelwise:
            multiplier = multiplier * rng.uniform(0.5, 2, w_shape[w_axis])
    elif isinstance(multiplier, list):
        multiplier = np.resize(multiplier, w_shape[w_axis])
    scale_w = np.float32(multiplier * float(y.scale) / float(x.scale))
    if scales:
        x, y = quant(type, scales[0], zero_in), quant(type, scales[2], zero_out)
        scale_w = np.float32(scales[1])
    net = Network(operator, draws, **options)
    if lead is None:
        net.input(x_shape, x)
        net.const(weights, Quant(type, scale_w, zero_w, w_axis))
    else:
        net.const(lead)
        net.const(weights, Quant(type, scale_w, zero_w, w_axis))
        net.input(x_shape, x)
    if bias == "absent":
        net.absent()
    elif bias:
        reach = 40 / (x.scale.astype(float) * scale_w.astype(float) / float(y.scale))
        limit = np.minimum(reach, 2**30)
        codes = np.rint(rng.uniform(-1, 1, w_shape[w_axis]) * limit)
        net.const(codes.astype(np.int32), Quant(INT32, x.scale * scale_w))
    net.output(y)
    return name, net


def requantisation(operator, make, small):
    """Variants that vary the numbers, not the geometry: the same for every such operator.

    `make(name, **numbers)` builds a case, `small` one with so few products per output that
    weights near the zero point call for a large multiplier.
    """
    for type in TYPES:
        def case(name, build=make, **numbers):
            return build(f"{type}_{name}", type=type, **numbers)
        both = (noise, extremes)
        low, high = np.iinfo(type).min, np.iinfo(type).max
        yield case(f"zeros_{low}_{high}", zero_in=low, zero_out=high, draws=both)
        yield case(f"zeros_{high}_{low}", zero_in=high, zero_out=low, draws=both)
        yield case("relu6", fused="relu6")
        yield case("tiny_multiplier", multiplier=1e-6)
        yield case("small_sums", small, spread=3)
        yield case("left_shift", small, spread=2, multiplier=1.7, draws=both)
        scales = rounded_product(rng_of(operator, str(type)))
        yield case("rounded_product", small, spread=3, scales=scales, channelwise=False,
                   draws=both)
        if type == INT8:
            yield case("relu", fused="relu")
            yield case("relu_n1_to_1", fused="relu_n1_to_1")
            yield case("per_tensor", channelwise=False)
            yield case("weights_ends", spread="ends", draws=both)
            yield case("half", small, spread=3, multiplier=0.5, channelwise=False)
            yield case("left_shift_5", small, spread=1, multiplier=29.3)
            apart = [1e-12, 3e-5, 0.002, 0.5, 1.0, 2.7]
            yield case("channels_apart", small, multiplier=apart)
        else:
            for zero in (0, 77, 255):
                yield case(f"zero_w_{zero}", zero_w=zero, draws=both)


def conv(
    name, rows=5, cols=4, channels=3, filters=4, kernel=(3, 3), stride=(1, 1), dilation=(1, 1),
    padding="same", groups=1, fused="none", **numbers,
):
    options = {
        "padding": PADDINGS[padding], "strideH": stride[0], "strideW": stride[1],
        "dilationHFactor": dilation[0], "dilationWFactor": dilation[1],
        "fusedActivationFunction": ACTIVATIONS[fused],
    }
    depth = channels // groups
    return weighted(
        name, "CONV_2D", (1, rows, cols, channels), (filters, *kernel, depth), 0,
        depth * kernel[0] * kernel[1], options, **numbers,
    )


def conv_2d(operator):
    for type in TYPES:
        def case(name, **how):
            return conv(f"{type}_{name}", type=type, **how)
        yield case("same")
        yield case("stride_2_valid", stride=(2, 2), padding="valid")
        yield case("dilation_2_same", dilation=(2, 2))
        yield case("groups_2", channels=4, filters=6, groups=2)
        yield case("no_bias", bias=None)
    yield conv("int8_valid", padding="valid")
    yield conv("int8_stride_2_same", stride=(2, 2))
    yield conv("int8_stride_2_even_image", stride=(2, 2), rows=6, cols=6, channels=2)
    yield conv("int8_stride_1x2", stride=(1, 2))
    yield conv("int8_stride_3x2", stride=(3, 2))
    yield conv("int8_dilation_2_valid", rows=7, cols=6, dilation=(2, 2), padding="valid")
    yield conv("int8_dilation_1x3", dilation=(1, 3))
    yield conv("int8_larger_than_image", rows=2, cols=3, kernel=(5, 5), filters=3)
    yield conv("int8_1x1_image", rows=1, cols=1)
    yield conv("int8_1x1", kernel=(1, 1), filters=7)
    yield conv("int8_1x1_stride_2", kernel=(1, 1), stride=(2, 2))
    yield conv("int8_1x1_to_1_channel", kernel=(1, 1), channels=5, filters=1)
    yield conv("int8_1x3", kernel=(1, 3))
    yield conv("int8_3x1_valid", kernel=(3, 1), padding="valid")
    yield conv("int8_2x2", kernel=(2, 2))
    yield conv("int8_2x2_stride_2", kernel=(2, 2), stride=(2, 2))
    yield conv("int8_7x7_stride_2", stride=(2, 2), rows=8, cols=7, channels=1, kernel=(7, 7),
               filters=3)
    yield conv("int8_1_channel", channels=1, filters=5)
    yield conv("int8_odd_channels", rows=3, cols=3, channels=5, filters=9)
    yield conv("int8_many_channels", rows=3, cols=2, channels=17, filters=19, kernel=(1, 1))
    yield conv("int8_33_channels", rows=2, cols=2, channels=33, filters=4, kernel=(2, 1))
    yield conv("int8_groups_3_odd", rows=4, cols=3, channels=9, filters=15, groups=3)
    yield conv("int8_groups_as_channels", channels=4, filters=4, groups=4)
    yield conv("int8_groups_2_1x1", channels=6, filters=4, groups=2, kernel=(1, 1))
    yield from requantisation(operator, conv, lambda name, **how: conv(
        name, kernel=(1, 1), filters=6, **how,
    ))


def depthwise(
    name, rows=5, cols=4, channels=3, times=1, kernel=(3, 3), stride=(1, 1), dilation=(1, 1),
    padding="same", fused="none", **numbers,
):
    options = {
        "padding": PADDINGS[padding], "strideH": stride[0], "strideW": stride[1],
        "dilationHFactor": dilation[0], "dilationWFactor": dilation[1],
        "depthMultiplier": times, "fusedActivationFunction": ACTIVATIONS[fused],
    }
    return weighted(
        name, "DEPTHWISE_CONV_2D", (1, rows, cols, channels), (1, *kernel, channels * times), 3,
        kernel[0] * kernel[1], options, **numbers,
    )


def depthwise_conv_2d(operator):
    for type in TYPES:
        def case(name, **how):
            return depthwise(f"{type}_{name}", type=type, **how)
        yield case("same")
        yield case("stride_2_valid", stride=(2, 2), padding="valid")
        yield case("dilation_2", dilation=(2, 2))
        yield case("times_2", times=2)
        yield case("no_bias", bias=None)
    yield depthwise("int8_valid", padding="valid")
    yield depthwise("int8_stride_2_same", stride=(2, 2))
    yield depthwise("int8_stride_1x2", stride=(1, 2))
    yield depthwise("int8_stride_3", stride=(3, 3), rows=7)
    yield depthwise("int8_times_3", times=3, stride=(2, 2), padding="valid")
    yield depthwise("int8_1_channel_times_8", rows=4, cols=3, channels=1, times=8)
    yield depthwise("int8_odd_times_2", rows=3, cols=4, channels=5, times=2, stride=(2, 2))
    yield depthwise("int8_dilation_2_valid", rows=6, cols=5, dilation=(2, 2), padding="valid")
    yield depthwise("int8_dilation_1x2_times_2", dilation=(1, 2), times=2)
    yield depthwise("int8_larger_than_image", rows=2, cols=3, kernel=(5, 5))
    yield depthwise("int8_1x1", kernel=(1, 1))
    yield depthwise("int8_1x1_image", rows=1, cols=1, channels=5)
    yield depthwise("int8_17_channels", rows=3, cols=2, channels=17)
    yield depthwise("int8_5x5", rows=6, cols=5, kernel=(5, 5), channels=2)
    yield depthwise("int8_2x4_valid", kernel=(2, 4), padding="valid")
    yield from requantisation(operator, depthwise, lambda name, **how: depthwise(
        name, kernel=(1, 2), channels=6, **how,
    ))


def dense(name, shape=(1, 12), depth=None, units=7, fused="none", keep=False, **numbers):
    depth = depth or shape[-1]
    options = {"fusedActivationFunction": ACTIVATIONS[fused], "keepNumDims": keep}
    return weighted(
        name, "FULLY_CONNECTED", shape, (units, depth), 0, depth, options, **numbers,
    )


def fully_connected(operator):
    for type in TYPES:
        def case(name, **how):
            return dense(f"{type}_{name}", type=type, **how)
        yield case("plain")
        yield case("no_bias", bias=None)
        yield case("absent_bias", bias="absent")
        yield case("rank_4_flattened", shape=(1, 2, 3, 4), depth=24)
        yield case("rows", shape=(5, 6))
    yield dense("int8_per_tensor_rows", shape=(3, 9), channelwise=False)
    yield dense("int8_per_tensor_no_bias", bias=None, channelwise=False)
    yield dense("int8_rank_4_rows", shape=(1, 2, 3, 4), units=5)
    yield dense("int8_rank_4_keep_num_dims", shape=(1, 2, 3, 4), units=5, keep=True)
    yield dense("int8_rank_3_keep_num_dims", shape=(1, 4, 5), units=3, keep=True)
    yield dense("int8_1x1_image", shape=(1, 1, 1, 9))
    yield dense("int8_1_unit", units=1)
    yield dense("int8_1_input", shape=(1, 1), units=20)
    yield dense("int8_odd", shape=(1, 37), units=11)
    yield dense("int8_many_inputs", shape=(1, 150), units=3)
    yield from requantisation(
        operator, lambda name, **how: dense(name, units=12, **how),
        lambda name, **how: dense(name, shape=(1, 3), units=18, **how),
    )


def up_conv(
    name, rows=3, cols=4, channels=3, filters=2, kernel=(3, 3), stride=(2, 2), padding="same",
    fused="none", **numbers,
):
    options = {
        "padding": PADDINGS[padding], "strideH": stride[0], "strideW": stride[1],
        "fusedActivationFunction": ACTIVATIONS[fused],
    }
    grow = [0 if padding == "same" else max(k - s, 0) for k, s in zip(kernel, stride)]
    lead = (1, rows * stride[0] + grow[0], cols * stride[1] + grow[1], filters)
    taps = channels * kernel[0] * kernel[1] / (stride[0] * stride[1])
    return weighted(
        name, "TRANSPOSE_CONV", (1, rows, cols, channels), (filters, *kernel, channels), 0,
        max(taps, 1), options, lead=lead, **numbers,
    )


def transpose_conv(operator):
    for type in TYPES:
        def case(name, **how):
            return up_conv(f"{type}_{name}", type=type, **how)
        yield case("same")
        yield case("valid", padding="valid")
        yield case("no_bias", bias=None)
    yield up_conv("int8_stride_1", stride=(1, 1))
    yield up_conv("int8_stride_1_valid", stride=(1, 1), padding="valid", rows=2)
    yield up_conv("int8_stride_1x2", stride=(1, 2))
    yield up_conv("int8_stride_3", stride=(3, 3), rows=2, cols=3)
    yield up_conv("int8_gaps", kernel=(2, 1), stride=(3, 2), rows=2)
    yield up_conv("int8_2x2", kernel=(2, 2), filters=5)
    yield up_conv("int8_4x4", kernel=(4, 4), filters=1)
    yield up_conv("int8_1x1_image", rows=1, cols=1, padding="valid")
    yield up_conv("int8_odd_channels", rows=2, cols=2, channels=7, filters=5)
    yield from requantisation(
        operator, lambda name, **how: up_conv(name, rows=2, cols=3, **how),
        lambda name, **how: up_conv(name, kernel=(1, 1), stride=(1, 1), filters=6, **how),
    )
