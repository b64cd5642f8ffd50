//! Networks under construction, as files state them.

use pipeit_tool::import::schema::{
    ActivationFunctionType, Buffer, BuiltinOperator, BuiltinOptions, ConcatenationOptions,
    Conv2DOptions, Model, Operator, OperatorCode, Padding, Pool2DOptions, QuantizationParameters,
    SubGraph, Tensor, TensorType,
};

use pipeit_tool::import::schema::write;

/// A file under construction; all its codes are int8 with scale 1/2 and zero point 3.
#[derive(Default)]
pub(crate) struct Sketch {
    tensors: Vec<Tensor>,
    operators: Vec<Operator>,
    codes: Vec<OperatorCode>,
    buffers: Vec<Buffer>,
}

impl Sketch {
    fn tensor(&mut self, shape: &[i32], type_: TensorType, data: Option<Vec<u8>>) -> i32 {
        let index = self.tensors.len();
        let quantization = QuantizationParameters {
            scale: Some(vec![0.5]),
            zero_point: Some(vec![3]),
            ..QuantizationParameters::default()
        };
        let is_codes = type_ == TensorType::Int8;
        self.tensors.push(Tensor {
            shape: Some(shape.to_vec()),
            type_,
            // Buffer 0 is the empty one.
            buffer: if data.is_some() { self.buffers.len() as u32 + 1 } else { 0 },
            name: Some(format!("t{index}")),
            quantization: is_codes.then(|| Box::new(quantization)),
            ..Tensor::default()
        });
        self.buffers.extend(data.map(|data| Buffer { data: Some(data), ..Buffer::default() }));
        index as i32
    }

    pub(crate) fn activation(&mut self, shape: &[i32]) -> i32 {
        self.tensor(shape, TensorType::Int8, None)
    }

    pub(crate) fn constant(&mut self, shape: &[i32], codes: Vec<u8>) -> i32 {
        self.tensor(shape, TensorType::Int8, Some(codes))
    }

    /// Filters, all codes different where there are few.
    pub(crate) fn filters(&mut self, shape: &[i32]) -> i32 {
        let len = shape.iter().product::<i32>();
        let index = self.constant(shape, (0..len).map(|i| (i * 37) as u8).collect());
        let quantization = self.tensors[index as usize].quantization.as_mut();
        let quantization = quantization.expect("scale and zero point");
        (quantization.scale, quantization.zero_point) = (Some(vec![1.0 / 512.0]), None);
        index
    }

    pub(crate) fn integers(&mut self, values: &[i32]) -> i32 {
        let bytes = values.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.tensor(&[values.len() as i32], TensorType::Int32, Some(bytes))
    }

    pub(crate) fn op(
        &mut self,
        code: BuiltinOperator,
        options: Option<BuiltinOptions>,
        inputs: &[i32],
        output: i32,
    ) -> i32 {
        let known = self.codes.iter().position(|known| known.builtin_code == code);
        let opcode_index = known.unwrap_or_else(|| {
            let code = OperatorCode { builtin_code: code, ..OperatorCode::default() };
            self.codes.push(code);
            self.codes.len() - 1
        });
        self.operators.push(Operator {
            opcode_index: opcode_index as u32,
            inputs: Some(inputs.to_vec()),
            outputs: Some(vec![output]),
            builtin_options: options,
        });
        output
    }

    /// The file.
    pub(crate) fn write(self, inputs: &[i32], outputs: &[i32]) -> Vec<u8> {
        let subgraph = SubGraph {
            tensors: Some(self.tensors),
            inputs: Some(inputs.to_vec()),
            outputs: Some(outputs.to_vec()),
            operators: Some(self.operators),
            name: None,
        };
        let empty = std::iter::once(Buffer::default());
        write(&Model {
            version: 3,
            operator_codes: Some(self.codes),
            subgraphs: Some(vec![subgraph]),
            description: None,
            buffers: Some(empty.chain(self.buffers).collect()),
        })
    }
}

pub(crate) fn conv(stride: [i32; 2], padding: Padding) -> BuiltinOptions {
    BuiltinOptions::Conv2DOptions(Box::new(Conv2DOptions {
        padding,
        stride_h: stride[0],
        stride_w: stride[1],
        fused_activation_function: ActivationFunctionType::Relu6,
        ..Conv2DOptions::default()
    }))
}

pub(crate) fn pool(stride: [i32; 2], taps: [i32; 2]) -> BuiltinOptions {
    BuiltinOptions::Pool2DOptions(Box::new(Pool2DOptions {
        padding: Padding::Valid,
        stride_h: stride[0],
        stride_w: stride[1],
        filter_height: taps[0],
        filter_width: taps[1],
        ..Pool2DOptions::default()
    }))
}

pub(crate) fn join(axis: i32) -> BuiltinOptions {
    let options = ConcatenationOptions { axis, ..ConcatenationOptions::default() };
    BuiltinOptions::ConcatenationOptions(Box::new(options))
}

pub(crate) fn slice() -> BuiltinOptions {
    BuiltinOptions::StridedSliceOptions(Box::default())
}

/// A network of a few bytes with a bit of everything: weights, a skip connection, parts joined
/// in place, another view of the same bytes.
pub(crate) fn tiny() -> Vec<u8> {
    let mut sketch = Sketch::default();
    let x = sketch.activation(&[1, 4, 4, 2]);
    let filters = sketch.filters(&[2, 3, 3, 2]);
    let bias = sketch.integers(&[100, -100]);
    let a = sketch.activation(&[1, 4, 4, 2]);
    let same = conv([1, 1], Padding::Same);
    sketch.op(BuiltinOperator::Conv2d, Some(same), &[x, filters, bias], a);
    let b = sketch.activation(&[1, 4, 4, 2]);
    let add = BuiltinOptions::AddOptions(Box::default());
    sketch.op(BuiltinOperator::Add, Some(add), &[x, a], b);
    let joined = sketch.activation(&[1, 4, 4, 4]);
    sketch.op(BuiltinOperator::Concatenation, Some(join(3)), &[a, b], joined);
    let pooled = sketch.activation(&[1, 2, 2, 4]);
    sketch.op(BuiltinOperator::MaxPool2d, Some(pool([2, 2], [2, 2])), &[joined], pooled);
    let flat = sketch.activation(&[1, 16]);
    sketch.op(BuiltinOperator::Reshape, None, &[pooled], flat);
    let weights = sketch.filters(&[3, 16]);
    let y = sketch.activation(&[1, 3]);
    let full = BuiltinOptions::FullyConnectedOptions(Box::default());
    sketch.op(BuiltinOperator::FullyConnected, Some(full), &[flat, weights], y);
    sketch.write(&[x], &[y])
}
