//! What import and lowering refuse, and that they name the culprit.

use pipeit_tool::graph::{GraphError, TensorIndex};
use pipeit_tool::import::schema::{
    self, ActivationFunctionType, BuiltinOperator, BuiltinOptions, Model, ModelRef, TensorType,
};
use pipeit_tool::import::{self, ImportError};
use pipeit_tool::lower::{self, LowerError};
use planus::ReadAsRoot;

const DIGITS: &[u8] = include_bytes!("../../data/digits/digits.tflite");

/// The digits network after `change`, as a file.
fn changed(change: impl FnOnce(&mut Model)) -> Vec<u8> {
    let model = ModelRef::read_as_root(DIGITS).expect("a model");
    let mut model = Model::try_from(model).expect("a model");
    change(&mut model);
    schema::write(&model)
}

fn refused(change: impl FnOnce(&mut Model)) -> ImportError {
    import::tflite(&changed(change)).expect_err("refused")
}

type Tables<'a> = (
    &'a mut Vec<pipeit_tool::import::schema::Tensor>,
    &'a mut Vec<pipeit_tool::import::schema::Operator>,
);

fn tables(model: &mut Model) -> Tables<'_> {
    let subgraph = &mut model.subgraphs.as_mut().expect("subgraphs")[0];
    (subgraph.tensors.as_mut().expect("tensors"), subgraph.operators.as_mut().expect("operators"))
}

/// The first input of the network.
fn input(model: &Model) -> usize {
    let subgraph = &model.subgraphs.as_ref().expect("subgraphs")[0];
    subgraph.inputs.as_ref().expect("inputs")[0] as usize
}

#[test]
fn an_unchanged_rewritten_file_is_the_same_network() {
    let original = import::tflite(DIGITS).expect("a network");
    assert_eq!(import::tflite(&changed(|_| {})).expect("a network"), original);
}

#[test]
fn other_files_are_not_tflite() {
    for bytes in [&b""[..], b"TFL3", b"\x1c\0\0\0TFL2aaaaaaaaaaaa", &[0; 64]] {
        assert!(matches!(import::tflite(bytes), Err(ImportError::NotTflite)));
    }
}

#[test]
fn a_file_cut_off_anywhere_is_an_error() {
    // Weights lie at the front of the file or the end of it; wherever it is cut, something
    // is missing. The last bytes may be padding.
    for len in (0..DIGITS.len() - 64).step_by(97).chain(0..256) {
        let result = import::tflite(&DIGITS[..len]);
        assert!(result.is_err(), "{len} bytes of {}", DIGITS.len());
    }
}

#[test]
fn damaged_bytes_never_panic() {
    let mut bytes = DIGITS.to_vec();
    // Every byte of a stretch with tables in it, and a sample of the rest.
    for at in (0..bytes.len()).filter(|at| at % 61 == 0 || *at + 6000 > DIGITS.len()) {
        for value in [0x00, 0x7f, 0xff] {
            let before = std::mem::replace(&mut bytes[at], value);
            if let Ok(graph) = import::tflite(&bytes) {
                let _ = lower::lower(&graph);
            }
            bytes[at] = before;
        }
    }
}

#[test]
fn another_schema_version_is_refused() {
    assert!(matches!(refused(|m| m.version = 2), ImportError::Version { found: 2 }));
}

#[test]
fn there_must_be_one_subgraph() {
    let none = refused(|m| m.subgraphs = Some(Vec::new()));
    assert!(matches!(none, ImportError::Subgraphs { found: 0 }));
    let two = refused(|m| {
        let subgraphs = m.subgraphs.as_mut().expect("subgraphs");
        subgraphs.push(subgraphs[0].clone());
    });
    assert!(matches!(two, ImportError::Subgraphs { found: 2 }));
}

#[test]
fn all_unsupported_operators_are_listed_at_once() {
    let error = refused(|m| {
        for code in m.operator_codes.as_mut().expect("codes") {
            match code.builtin_code {
                BuiltinOperator::Softmax => {
                    code.builtin_code = BuiltinOperator::Svdf;
                    code.deprecated_builtin_code = BuiltinOperator::Svdf as i8;
                }
                BuiltinOperator::MaxPool2d => {
                    code.builtin_code = BuiltinOperator::Custom;
                    code.deprecated_builtin_code = BuiltinOperator::Custom as i8;
                    code.custom_code = Some("MyPool".to_owned());
                }
                _ => {}
            }
        }
    });
    let ImportError::Unsupported { ops } = &error else { panic!("{error}") };
    let found: Vec<_> = ops.iter().map(|op| (op.index, op.name.as_str())).collect();
    assert_eq!(found, [(8, "CUSTOM MyPool"), (17, "SVDF")]);
    assert!(error.to_string().contains(&ops[1].output), "{error}");
}

#[test]
fn a_float_network_is_told_to_be_quantized() {
    let error = refused(|m| {
        for tensor in tables(m).0 {
            tensor.type_ = TensorType::Float32;
            tensor.quantization = None;
        }
    });
    assert!(matches!(error, ImportError::Float { .. }));
    assert!(error.to_string().contains("quantise it to int8 first"));
}

#[test]
fn extents_must_be_fixed_but_the_batch_may_be_named() {
    let signature = |signature: [i32; 4]| {
        changed(|m| {
            let input = input(m);
            tables(m).0[input].shape_signature = Some(signature.to_vec());
        })
    };
    assert!(import::tflite(&signature([-1, 8, 8, 1])).is_ok());
    let error = import::tflite(&signature([1, -1, 8, 1])).expect_err("refused");
    let ImportError::Dynamic { shape, .. } = error else { panic!("{error}") };
    assert_eq!(shape, [1, -1, 8, 1]);
    let zero = refused(|m| {
        let input = input(m);
        tables(m).0[input].shape = Some(vec![1, 0, 8, 1]);
    });
    assert!(matches!(zero, ImportError::Dynamic { .. }));
}

#[test]
fn the_batch_must_be_one() {
    let error = refused(|m| {
        let input = input(m);
        tables(m).0[input].shape = Some(vec![2, 8, 8, 1]);
    });
    assert!(matches!(error, ImportError::Batch { batch: 2, .. }));
}

#[test]
fn an_unsupported_variant_names_its_operator() {
    let error = refused(|m| {
        let Some(BuiltinOptions::Conv2DOptions(options)) = &mut tables(m).1[1].builtin_options
        else {
            panic!("a convolution")
        };
        options.fused_activation_function = ActivationFunctionType::Tanh;
    });
    let ImportError::Variant { op, reason } = error else { panic!("{error}") };
    assert_eq!((op.index, op.name.as_str()), (1, "CONV_2D"));
    assert_eq!(reason, "fused activation Tanh is not supported");
}

#[test]
fn missing_and_short_buffers_are_named() {
    let outside = refused(|m| {
        let input = input(m);
        tables(m).0[input].buffer = 9999;
    });
    assert!(matches!(outside, ImportError::Buffer { buffer: 9999, .. }));
    let short = refused(|m| {
        let buffers = m.buffers.as_mut().expect("buffers");
        let largest = buffers.iter_mut().filter_map(|b| b.data.as_mut()).max_by_key(|d| d.len());
        largest.expect("a constant").pop();
    });
    assert!(matches!(short, ImportError::Graph(GraphError::Data { .. })), "{short}");
    let outside = refused(|m| {
        let buffer = &mut m.buffers.as_mut().expect("buffers")[1];
        (buffer.data, buffer.offset, buffer.size) = (None, 1 << 40, 100);
    });
    assert!(matches!(outside, ImportError::Buffer { buffer: 1, .. }), "{outside}");
}

#[test]
fn tensors_must_exist_and_be_written_before_they_are_read() {
    let index = refused(|m| tables(m).1[3].inputs.as_mut().expect("inputs")[0] = 5000);
    let ImportError::Graph(GraphError::NoTensor { index, .. }) = index else { panic!("{index}") };
    assert_eq!(index, 5000);
    let order = refused(|m| tables(m).1.swap(2, 3));
    let ImportError::Graph(GraphError::NotWritten { op, .. }) = order else { panic!("{order}") };
    assert_eq!(op.index, 2);
    let twice = refused(|m| {
        let ops = tables(m).1;
        ops[3].outputs = ops[2].outputs.clone();
    });
    assert!(matches!(twice, ImportError::Graph(GraphError::WrittenTwice { .. })));
}

#[test]
fn parts_that_are_shared_too_often_do_not_fill_the_memory() {
    // All tensors of the file are the first one: its name would be copied each time.
    let mut bytes = changed(|m| {
        let tensors = tables(m).0;
        tensors[0].name = Some("x".repeat(DIGITS.len()));
    });
    let model = ModelRef::read_as_root(&bytes).expect("a model");
    let subgraph = model.subgraphs().unwrap().unwrap().get(0).unwrap().unwrap();
    let count = subgraph.tensors().unwrap().unwrap().len() as u32;
    // The vector of tensors is the one place with this length and as many offsets behind it.
    let starts: Vec<usize> = (0..bytes.len() - 4 * count as usize)
        .step_by(4)
        .filter(|&at| bytes[at..at + 4] == count.to_le_bytes())
        .collect();
    let mut refused = false;
    for start in starts {
        let before = bytes.clone();
        let word = |at: usize| u32::from_le_bytes(before[at..at + 4].try_into().unwrap());
        let first = word(start + 4);
        for i in 1..count as usize {
            let offset = first.wrapping_sub(4 * i as u32);
            bytes[start + 4 + 4 * i..][..4].copy_from_slice(&offset.to_le_bytes());
        }
        refused |= matches!(import::tflite(&bytes), Err(ImportError::Overlapping));
        bytes = before;
    }
    assert!(refused);
}

#[test]
fn lowering_names_what_it_refuses() {
    let graph = import::tflite(DIGITS).expect("a network");
    let filters = graph.ops[0].inputs[1].expect("filters");
    let mut broken = graph.clone();
    broken.tensors[filters.0].quantization.as_mut().expect("scales").scales.pop();
    let error = lower::lower(&broken).expect_err("refused");
    let LowerError::Variant { op, reason } = error else { panic!("{error}") };
    assert_eq!(op.index, 0);
    assert!(reason.contains(&graph.tensors[filters.0].name), "{reason}");

    let mut broken = graph.clone();
    broken.outputs = vec![TensorIndex(usize::MAX)];
    assert!(matches!(lower::lower(&broken), Err(LowerError::Graph(GraphError::NoTensor { .. }))));

    let mut broken = graph.clone();
    broken.inputs.push(graph.inputs[0]);
    assert!(matches!(lower::lower(&broken), Err(LowerError::Port { .. })));

    let mut broken = graph.clone();
    broken.outputs.clear();
    assert_eq!(lower::lower(&broken).expect_err("refused"), LowerError::Empty);
}
