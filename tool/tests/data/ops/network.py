"""One-operator networks: described, built as `.tflite`, run by TFLite's reference kernels.

`generate.py` describes the networks; nothing here knows an operator but by the
tables below.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import warnings
import zlib
from dataclasses import dataclass

import flatbuffers
import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema

warnings.filterwarnings("ignore", message=".*tf.lite.Interpreter is deprecated.*")

INT8 = np.dtype(np.int8)
UINT8 = np.dtype(np.uint8)
INT32 = np.dtype(np.int32)
FLOAT32 = np.dtype(np.float32)

TENSOR_TYPES = {
    INT8: schema.TensorType.INT8,
    UINT8: schema.TensorType.UINT8,
    INT32: schema.TensorType.INT32,
    FLOAT32: schema.TensorType.FLOAT32,
}

TYPES = (INT8, UINT8)
ACTIVATIONS = {
    name.lower(): getattr(schema.ActivationFunctionType, name)
    for name in ("NONE", "RELU", "RELU6", "RELU_N1_TO_1")
}
PADDINGS = {"same": schema.Padding.SAME, "valid": schema.Padding.VALID}

# Operator: its version (the lowest that covers its cases) and its options table, if any.
OPERATORS = {
    "ADD": (2, "Add"),
    "AVERAGE_POOL_2D": (2, "Pool2D"),
    "CONCATENATION": (2, "Concatenation"),
    "CONV_2D": (6, "Conv2D"),
    "DEPTHWISE_CONV_2D": (6, "DepthwiseConv2D"),
    "DEQUANTIZE": (2, "Dequantize"),
    "EXPAND_DIMS": (1, "ExpandDims"),
    "FULLY_CONNECTED": (12, "FullyConnected"),
    "HARD_SWISH": (1, "HardSwish"),
    "LEAKY_RELU": (2, "LeakyRelu"),
    "LOGISTIC": (2, None),
    "MAXIMUM": (2, "MaximumMinimum"),
    "MAX_POOL_2D": (2, "Pool2D"),
    "MEAN": (2, "Reducer"),
    "MINIMUM": (2, "MaximumMinimum"),
    "MUL": (2, "Mul"),
    "PAD": (2, "Pad"),
    "PADV2": (2, "PadV2"),
    "PRELU": (1, None),
    "QUANTIZE": (2, "Quantize"),
    "RELU": (2, None),
    "RELU6": (2, None),
    "RELU_N1_TO_1": (1, None),
    "RESHAPE": (1, "Reshape"),
    "RESIZE_BILINEAR": (3, "ResizeBilinear"),
    "RESIZE_NEAREST_NEIGHBOR": (3, "ResizeNearestNeighbor"),
    "SLICE": (2, "Slice"),
    "SOFTMAX": (2, "Softmax"),
    "SPLIT": (2, "Split"),
    "SQUEEZE": (1, "Squeeze"),
    "STRIDED_SLICE": (2, "StridedSlice"),
    "SUB": (2, "Sub"),
    "TANH": (2, None),
    "TRANSPOSE": (2, "Transpose"),
    "TRANSPOSE_CONV": (4, "TransposeConv"),
}


@dataclass(frozen=True)
class Quant:
    """Element type and quantisation: real = scale * (code - zero).

    Without a scale, not quantised. With one scale per channel, `axis` is the
    dimension of the channels and every channel has the same zero point.
    """

    type: np.dtype
    scale: object = None
    zero: int = 0
    axis: int = 0

    @property
    def codes(self):
        """Lowest and highest code of the type."""
        limits = np.iinfo(self.type)
        return limits.min, limits.max


def quant(type, scale=0.05, zero=None):
    """Per-tensor quantisation; the usual zero point is a little off the middle."""
    if zero is None:
        zero = -3 if type == INT8 else 121
    return Quant(type, np.float32(scale), zero)


def rounded_product(rng, scale=0.02):
    """Scales a, b, c with c = 2 * float32(a * b), where the exact a * b is smaller.

    The real multiplier a * b / c is exactly a half, and odd sums are ties, only if the
    product is rounded to float32.
    """
    while True:
        a, b = np.float32(rng.uniform(scale, 2 * scale, 2))
        if float(a) * float(b) < float(a * b) * (1 - 2**-26):
            return a, b, np.float32(2) * (a * b)


def rounded_quotient(rng, scale=0.02):
    """Scales a, b with float32(a / b) = 1.5, where the exact a / b is smaller.

    Odd codes become ties only if the quotient is rounded to float32.
    """
    while True:
        b = np.float32(rng.uniform(scale, 2 * scale))
        a = np.float32(1.5 * float(b))
        if a / b == np.float32(1.5) and float(a) / float(b) < 1.5 * (1 - 2**-26):
            return a, b


@dataclass
class Tensor:
    name: str
    shape: tuple
    quant: Quant
    data: np.ndarray | None = None  # of a constant


def rng_of(*names):
    """Random numbers of their own for each name: adding cases changes no others."""
    return np.random.default_rng(zlib.crc32("/".join(names).encode()))


def noise(rng, tensor):
    """Codes from the whole range; real values from a little more than [-4, 4]."""
    if tensor.quant.type == FLOAT32:
        return rng.uniform(-4.5, 4.5, tensor.shape).astype(np.float32)
    low, high = tensor.quant.codes
    return rng.integers(low, high, tensor.shape, endpoint=True).astype(tensor.quant.type)


def extremes(rng, tensor):
    """Only the ends of the range and the codes around the zero point."""
    low, high = tensor.quant.codes
    zero = tensor.quant.zero
    codes = np.clip([low, low, high, high, zero - 1, zero, zero + 1], low, high)
    return rng.choice(codes, tensor.shape).astype(tensor.quant.type)


def mixed(rng, tensor):
    """Noise, with a third of the codes as in `extremes`."""
    codes = extremes(rng, tensor)
    return np.where(rng.random(tensor.shape) < 1 / 3, codes, noise(rng, tensor))


def around(center, reach=3):
    """Codes within `reach` of `center`."""
    def draw(rng, tensor):
        codes = rng.integers(center - reach, center + reach, tensor.shape, endpoint=True)
        return codes.astype(tensor.quant.type)
    return draw


def every_code(_rng, tensor):
    """Each code of the type, in order, as often as fits."""
    low, high = tensor.quant.codes
    return np.resize(np.arange(low, high + 1), tensor.shape).astype(tensor.quant.type)


class Network:
    """One operator. Operands are those of the operator, in its order."""

    def __init__(self, operator, draws=(noise, extremes), **options):
        self.operator = operator
        self.options = options
        self.draws = draws  # one input set each
        self.tensors = []
        self.operands = []  # indices of tensors; -1 is an operand left out
        self.results = []

    def _add(self, tensor):
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def input(self, shape, quant):
        """Append an operand that is an input of the network; its index."""
        self.operands.append(self._add(Tensor(f"x{len(self.operands)}", tuple(shape), quant)))
        return self.operands[-1]

    def const(self, data, quant=Quant(INT32)):
        """Append a constant operand."""
        data = np.asarray(data, quant.type)
        name = f"c{len(self.operands)}"
        self.operands.append(self._add(Tensor(name, data.shape, quant, data)))

    def again(self, operand):
        """Append an operand that is there already."""
        self.operands.append(operand)

    def absent(self):
        """Append an optional operand that is left out."""
        self.operands.append(-1)

    def output(self, quant):
        """Append a result; its shape is what the interpreter finds."""
        self.results.append(self._add(Tensor(f"y{len(self.results)}", (), quant)))

    def inputs(self):
        """Indices of the network's inputs."""
        return [
            index for index, tensor in enumerate(self.tensors)
            if tensor.data is None and index not in self.results
        ]

    def serialize(self):
        """The network as the bytes of a `.tflite` file."""
        model = schema.ModelT()
        model.version = 3
        model.buffers = [schema.BufferT()]  # buffer 0: no data
        graph = schema.SubGraphT()
        graph.tensors = [_tensor(tensor, model.buffers) for tensor in self.tensors]
        graph.inputs = self.inputs()
        graph.outputs = self.results
        graph.operators = [self._operator()]
        model.subgraphs = [graph]
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, self.operator)
        code.deprecatedBuiltinCode = code.builtinCode
        code.version = OPERATORS[self.operator][0]
        model.operatorCodes = [code]
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    def _operator(self):
        operator = schema.OperatorT()
        operator.inputs = self.operands
        operator.outputs = self.results
        name = OPERATORS[self.operator][1]
        if name:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{name}Options")
            operator.builtinOptions = getattr(schema, f"{name}OptionsT")()
            for option, value in self.options.items():
                assert hasattr(operator.builtinOptions, option), option
                setattr(operator.builtinOptions, option, value)
        return operator

    def run(self, rng):
        """The `.tflite` file and its golden vectors `{in_K_J, ref_K_J}`.

        # Raises
        RuntimeError, ValueError: TFLite refuses the network.
        """
        sizing = _interpreter(self.serialize())
        for index in self.results:
            self.tensors[index].shape = tuple(map(int, sizing.get_tensor(index).shape))
        content = self.serialize()
        vectors = {}
        for k, draw in enumerate(self.draws):
            interpreter = _interpreter(content)
            for j, index in enumerate(self.inputs()):
                vectors[f"in_{k}_{j}"] = draw(rng, self.tensors[index])
                interpreter.set_tensor(index, vectors[f"in_{k}_{j}"])
            interpreter.invoke()
            for j, index in enumerate(self.results):
                vectors[f"ref_{k}_{j}"] = interpreter.get_tensor(index)
                assert vectors[f"ref_{k}_{j}"].shape == self.tensors[index].shape
        return content, vectors


def _tensor(tensor, buffers):
    """The schema's tensor; the data of a constant is appended to `buffers`."""
    made = schema.TensorT()
    made.name = tensor.name
    made.shape = list(tensor.shape)
    made.type = TENSOR_TYPES[tensor.quant.type]
    if tensor.data is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(tensor.data.tobytes(), np.uint8)
        made.buffer = len(buffers)
        buffers.append(buffer)
    if tensor.quant.scale is not None:
        quantization = schema.QuantizationParametersT()
        quantization.scale = np.atleast_1d(np.float32(tensor.quant.scale))
        quantization.zeroPoint = np.full(quantization.scale.shape, tensor.quant.zero, np.int64)
        quantization.quantizedDimension = tensor.quant.axis
        made.quantization = quantization
    return made


def _interpreter(content):
    """Ready to run, with the reference kernels on one thread."""
    interpreter = tf.lite.Interpreter(
        model_content=content,
        experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_REF,
        num_threads=1,
    )
    interpreter.allocate_tensors()
    return interpreter
