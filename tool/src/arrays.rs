//! NumPy arrays as frames: the codes of inputs and outputs of a network.

use std::path::{Path, PathBuf};
use std::{fs, io};

use pipeit_rt::model::{Element, Port};
use pipeit_rt::tensor::Shape;

/// An array, in C order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Extents, outermost first.
    pub shape: Vec<u64>,
    /// The elements.
    pub elements: Elements,
}

/// The elements of an [`Array`].
#[derive(Clone, Debug, PartialEq)]
pub enum Elements {
    /// Of type int8.
    I8(Vec<i8>),
    /// Of type uint8.
    U8(Vec<u8>),
    /// Of type float32.
    F32(Vec<f32>),
}

/// Why an array could not be used.
#[derive(Debug, thiserror::Error)]
#[error("{}", path.display())]
pub struct ArrayError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub reason: ArrayReason,
}

/// See [`ArrayError`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArrayReason {
    /// The file could not be read.
    #[error("not readable")]
    Read(#[from] io::Error),
    /// The header is not one that NumPy writes.
    #[error("not a readable NumPy array")]
    Header,
    /// It ends early.
    #[error("cut off")]
    Cut,
    /// Elements of a type that is never used here, or a Fortran-ordered array.
    #[error("elements of type {found}; want int8, uint8 or float32 in C order")]
    Kind {
        /// The type, as NumPy writes it.
        found: String,
    },
    /// Elements of another type than the network has there.
    #[error("elements of type {found}, the network has {wanted} there")]
    Element {
        /// Type found.
        found: &'static str,
        /// Type wanted.
        wanted: &'static str,
    },
    /// The shape is not the network's, nor a batch of it.
    #[error("shape {found:?}, the network has {wanted} there")]
    Shape {
        /// Shape found.
        found: Vec<u64>,
        /// Shape of one frame.
        wanted: Shape,
    },
    /// More than one frame where one is wanted, or none at all.
    #[error("{found} frames, want {wanted}")]
    Frames {
        /// Frames found.
        found: usize,
        /// What is wanted.
        wanted: &'static str,
    },
}

impl ArrayReason {
    /// The error, of the array in `path`.
    #[must_use]
    pub fn of(self, path: &Path) -> ArrayError {
        ArrayError { path: path.to_owned(), reason: self }
    }
}

impl Array {
    /// Reads a `.npy` file.
    ///
    /// # Errors
    ///
    /// It is not one, or of a type that is not for networks.
    pub fn load(path: &Path) -> Result<Self, ArrayError> {
        let bytes = fs::read(path).map_err(ArrayReason::from);
        bytes.and_then(|bytes| Self::read(&bytes)).map_err(|reason| reason.of(path))
    }

    /// Reads the content of a `.npy` file.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn read(bytes: &[u8]) -> Result<Self, ArrayReason> {
        let Header { kind, is_fortran, shape, data } = Header::read(bytes)?;
        let flat = shape.iter().filter(|&&extent| extent > 1).count() < 2;
        if is_fortran && !flat {
            return Err(ArrayReason::Kind { found: format!("{kind} in Fortran order") });
        }
        let count = shape.iter().try_fold(1u64, |n, &extent| n.checked_mul(extent));
        let count = count.and_then(|count| usize::try_from(count).ok());
        let of = |width: usize| {
            let bytes = count.and_then(|count| count.checked_mul(width));
            bytes.and_then(|bytes| data.get(..bytes)).ok_or(ArrayReason::Cut)
        };
        let elements = match kind {
            "|i1" => Elements::I8(of(1)?.iter().map(|&byte| byte.cast_signed()).collect()),
            "|u1" => Elements::U8(of(1)?.to_vec()),
            "<f4" => {
                let (reals, _) = of(4)?.as_chunks();
                Elements::F32(reals.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
            }
            _ => return Err(ArrayReason::Kind { found: kind.to_owned() }),
        };
        Ok(Self { shape, elements })
    }

    /// The codes the runtime computes with, of one or several frames of a port of shape
    /// `shape`: the array has that shape, or that shape behind a batch.
    ///
    /// # Errors
    ///
    /// Type or shape is not that of the port.
    pub fn codes(&self, port: &Port, shape: &Shape) -> Result<Vec<Vec<i8>>, ArrayReason> {
        let wrong_shape = || ArrayReason::Shape { found: self.shape.clone(), wanted: *shape };
        let dims: Vec<_> = shape.dims().iter().map(|&extent| u64::from(extent)).collect();
        let without_batch = dims.strip_prefix(&[1]).filter(|rest| !rest.is_empty());
        let frames = match self.shape.split_first() {
            _ if self.shape == dims => 1,
            Some((&frames, rest)) if rest == dims || Some(rest) == without_batch => frames,
            _ => return Err(wrong_shape()),
        };
        let codes = self.all_codes(port)?;
        if u64::try_from(codes.len()).ok() != frames.checked_mul(shape.elements() as u64) {
            return Err(wrong_shape());
        }
        Ok(codes.chunks(shape.elements()).map(<[i8]>::to_vec).collect())
    }

    /// As [`codes`](Self::codes), of exactly one frame.
    ///
    /// # Errors
    ///
    /// As [`codes`](Self::codes), and when it is another number of frames.
    pub fn one(&self, port: &Port, shape: &Shape) -> Result<Vec<i8>, ArrayReason> {
        let mut frames = self.codes(port, shape)?;
        match (frames.pop(), frames.len()) {
            (Some(frame), 0) => Ok(frame),
            (_, rest) => Err(ArrayReason::Frames { found: rest + 1, wanted: "one" }),
        }
    }

    fn all_codes(&self, port: &Port) -> Result<Vec<i8>, ArrayReason> {
        match (&self.elements, port.element) {
            (Elements::I8(codes), Element::I8) => Ok(codes.clone()),
            (Elements::U8(codes), Element::U8) => {
                Ok(codes.iter().map(|&code| from_unsigned(code)).collect())
            }
            (Elements::F32(reals), Element::F32) => {
                Ok(reals.iter().map(|&real| quantize(real, port)).collect())
            }
            (elements, wanted) => {
                let found = match elements {
                    Elements::I8(_) => "int8",
                    Elements::U8(_) => "uint8",
                    Elements::F32(_) => "float32",
                };
                Err(ArrayReason::Element { found, wanted: element_name(wanted) })
            }
        }
    }
}

/// What stands before the elements.
///
/// Read here, because a general reader of Python literals needs time exponential in the
/// depth of the brackets.
struct Header<'a> {
    /// The type, as NumPy writes it.
    kind: &'a str,
    is_fortran: bool,
    shape: Vec<u64>,
    /// What follows the header.
    data: &'a [u8],
}

impl<'a> Header<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, ArrayReason> {
        let (version, rest) = bytes
            .strip_prefix(b"\x93NUMPY")
            .and_then(|rest| rest.split_first_chunk::<2>())
            .ok_or(ArrayReason::Header)?;
        let (len, rest) = match version {
            [1, 0] => {
                rest.split_first_chunk().map(|(len, rest)| (u16::from_le_bytes(*len).into(), rest))
            }
            [2 | 3, 0] => {
                rest.split_first_chunk().map(|(len, rest)| (u32::from_le_bytes(*len), rest))
            }
            _ => None,
        }
        .ok_or(ArrayReason::Header)?;
        let (text, data) = rest.split_at_checked(len as usize).ok_or(ArrayReason::Cut)?;
        let header = std::str::from_utf8(text).ok().and_then(|text| {
            let kind =
                value(text, "descr")?.strip_prefix('\'').and_then(|kind| kind.split_once('\''));
            let shape = value(text, "shape")?.strip_prefix('(')?;
            let (shape, _) = shape.split_once(')')?;
            let extents = shape.split(',').map(str::trim).filter(|extent| !extent.is_empty());
            Some(Self {
                // Without quotes it is a list of fields.
                kind: kind.map_or("structured", |(kind, _)| kind),
                is_fortran: value(text, "fortran_order")?.starts_with("True"),
                shape: extents.map(|extent| extent.parse().ok()).collect::<Option<_>>()?,
                data,
            })
        });
        header.ok_or(ArrayReason::Header)
    }
}

/// What follows `'key':` in a header.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let (_, value) = text.split_once(&format!("'{key}':"))?;
    Some(value.trim_start())
}

/// The runtime's code of a code of a legacy uint8 network.
#[must_use]
pub const fn from_unsigned(code: u8) -> i8 {
    (code ^ 0x80) as i8
}

/// The code of `port` for a real value: nearest, ties away from zero, as TFLite's QUANTIZE.
#[must_use]
pub fn quantize(real: f32, port: &Port) -> i8 {
    let code = (real / port.scale).round() + f32::from(port.zero_point);
    code.clamp(-128.0, 127.0) as i8
}

/// The real value of a code of `port`.
#[must_use]
pub fn dequantize(code: i8, port: &Port) -> f32 {
    port.scale * (f32::from(code) - f32::from(port.zero_point))
}

/// The name of an element type in files and reports.
#[must_use]
pub const fn element_name(element: Element) -> &'static str {
    match element {
        Element::I8 => "int8",
        Element::U8 => "uint8",
        Element::F32 => "float32",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use npyz::WriterBuilder;
    use pipeit_rt::model::TensorId;

    const fn port(element: Element) -> Port {
        Port { tensor: TensorId(0), scale: 0.5, zero_point: 3, element }
    }

    fn npy<T: npyz::AutoSerialize>(shape: &[u64], elements: &[T]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let builder = npyz::WriteOptions::new().default_dtype().shape(shape).writer(&mut bytes);
        let mut writer = builder.begin_nd().unwrap();
        writer.extend(elements).unwrap();
        writer.finish().unwrap();
        bytes
    }

    #[test]
    fn a_frame_or_a_batch_of_them() {
        let shape = Shape::new(&[1, 2, 1, 3]).unwrap();
        let codes = |dims: &[u64]| {
            let elements: Vec<i8> = (0..dims.iter().product::<u64>() as i8).collect();
            let array = Array::read(&npy(dims, &elements)).unwrap();
            array.codes(&port(Element::I8), &shape).map(|frames| frames.len())
        };
        assert_eq!(codes(&[1, 2, 1, 3]).unwrap(), 1);
        assert_eq!(codes(&[4, 2, 1, 3]).unwrap(), 4);
        assert_eq!(codes(&[4, 1, 2, 1, 3]).unwrap(), 4);
        assert_eq!(codes(&[0, 2, 1, 3]).unwrap(), 0);
        for wrong in [&[1, 3, 1, 2][..], &[6], &[2, 2, 1, 3, 1], &[2, 1, 3]] {
            assert!(matches!(codes(wrong), Err(ArrayReason::Shape { .. })), "{wrong:?}");
        }
    }

    #[test]
    fn elements_become_codes() {
        let shape = Shape::new(&[3]).unwrap();
        let unsigned = Array::read(&npy(&[3], &[0u8, 128, 255])).unwrap();
        assert_eq!(unsigned.one(&port(Element::U8), &shape).unwrap(), [-128, 0, 127]);
        let reals = Array::read(&npy(&[3], &[0.25f32, -0.25, 1e9])).unwrap();
        assert_eq!(reals.one(&port(Element::F32), &shape).unwrap(), [4, 2, 127]);
        let error = reals.one(&port(Element::I8), &shape).unwrap_err();
        assert_eq!(error.to_string(), "elements of type float32, the network has int8 there");
    }

    #[test]
    fn other_files_are_refused() {
        assert!(matches!(Array::read(b"no array"), Err(ArrayReason::Header)));
        let wide = npy(&[1], &[1i32]);
        assert!(matches!(Array::read(&wide), Err(ArrayReason::Kind { .. })));
        let cut = npy(&[4], &[1i8, 2, 3, 4]);
        assert!(matches!(Array::read(&cut[..cut.len() - 1]), Err(ArrayReason::Cut)));
        assert!(matches!(Array::read(&cut[..cut.len() - 5]), Err(ArrayReason::Cut)));
    }
}
