//! Tensors beside what they should hold: how they differ, and where first.

use std::fmt;

use pipeit_rt::model::{Element, Model, Port};
use pipeit_rt::tensor::Shape;

use crate::goldens::{Golden, GoldenError, Intermediate};
use crate::interpreter::Interpreter;
use crate::network::FileTensor;

/// How codes differ from those expected. Codes are those of the network's file: unsigned where
/// it is a legacy one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// How many differ.
    pub count: usize,
    /// By how much at most.
    pub largest: u16,
    /// Index of the first that does, in the order of the file.
    pub index: usize,
    /// The code expected there.
    pub expected: i16,
    /// The code found there.
    pub found: i16,
}

impl Difference {
    /// Between as many codes of each; `None` when they are equal.
    #[must_use]
    pub fn between(expected: &[i8], found: &[i8], element: Element) -> Option<Self> {
        let offset = if element == Element::U8 { 128 } else { 0 };
        let pairs = expected.iter().zip(found).enumerate().filter(|(_, (a, b))| a != b);
        pairs.fold(None, |first, (index, (&expected, &found))| {
            let [expected_code, found_code] = [expected, found].map(|c| i16::from(c) + offset);
            let by = u16::from(expected.abs_diff(found));
            let first = first.unwrap_or(Self {
                count: 0,
                largest: 0,
                index,
                expected: expected_code,
                found: found_code,
            });
            Some(Self { count: first.count + 1, largest: first.largest.max(by), ..first })
        })
    }
}

/// What writes a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writer {
    /// An operator.
    Operator {
        /// Its index in the network's file.
        index: usize,
        /// TFLite's name.
        name: String,
    },
    /// Whatever writes this output of the network.
    Output(usize),
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator { index, name } => write!(f, "operator {index} {name}"),
            Self::Output(index) => write!(f, "output {index}"),
        }
    }
}

/// A tensor that has been compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// Number of the golden frame.
    pub frame: u32,
    /// What writes it.
    pub writer: Writer,
    /// Its name in the network's file; empty where that is not at hand.
    pub tensor: String,
    /// Its shape.
    pub shape: Shape,
    /// How it differs from what it should hold.
    pub difference: Option<Difference>,
}

/// The tensors of a frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Those that were compared, in the order of their operators, then the outputs.
    pub compared: Vec<Compared>,
    /// Names of those that the network does not compute, because they were folded away.
    pub folded: Vec<String>,
}

/// Runs a frame on one core and compares `intermediates`, then the outputs.
///
/// # Errors
///
/// An intermediate tensor is of another type or size than the network's.
pub fn of_frame(
    model: &Model<'_>,
    file_tensors: &[FileTensor],
    golden: &Golden,
    intermediates: &[Intermediate],
) -> Result<Frame, GoldenError> {
    let interpreter = Interpreter::new(model);
    let outputs = interpreter.run(&golden.inputs);
    let mut frame = Frame { compared: Vec::new(), folded: Vec::new() };
    // The codes inside a legacy network are those of its ports.
    let is_legacy = model.inputs.iter().any(|port| port.element == Element::U8);
    let element = if is_legacy { Element::U8 } else { Element::I8 };
    for Intermediate { key, tensor, operator, name, array } in intermediates {
        let content = |file_tensor: &FileTensor| {
            let id = file_tensor.content?;
            Some((file_tensor.name.clone(), id, model.tensor(id)?.shape))
        };
        let Some((tensor, id, shape)) = file_tensors.get(*tensor).and_then(content) else {
            frame.folded.push(key.clone());
            continue;
        };
        let port = Port { tensor: id, scale: 1.0, zero_point: 0, element };
        let expected = array.one(&port, &shape);
        let expected =
            expected.map_err(|source| GoldenError::Intermediate { key: key.clone(), source })?;
        frame.compared.push(Compared {
            frame: golden.number,
            writer: Writer::Operator { index: *operator, name: name.clone() },
            tensor,
            shape,
            difference: Difference::between(&expected, &interpreter.codes(id), element),
        });
    }
    let ports = model.outputs.iter().zip(golden.outputs.iter().zip(&outputs));
    for (index, (port, (expected, found))) in ports.enumerate() {
        let Some(tensor) = model.tensor(port.tensor) else { continue };
        let mut names = file_tensors.iter().filter(|file| file.content == Some(port.tensor));
        frame.compared.push(Compared {
            frame: golden.number,
            writer: Writer::Output(index),
            tensor: names.next().map(|file| file.name.clone()).unwrap_or_default(),
            shape: tensor.shape,
            difference: Difference::between(expected, found, port.element),
        });
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_counted_and_the_first_is_kept() {
        let expected = [0, 5, -128, 127, 9];
        assert_eq!(Difference::between(&expected, &expected, Element::I8), None);
        let found = [0, 6, 127, 127, 8];
        let difference = Difference { count: 3, largest: 255, index: 1, expected: 5, found: 6 };
        assert_eq!(Difference::between(&expected, &found, Element::I8), Some(difference));
        let unsigned = Difference { expected: 133, found: 134, ..difference };
        assert_eq!(Difference::between(&expected, &found, Element::U8), Some(unsigned));
    }
}
