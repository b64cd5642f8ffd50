//! Fixed-point kernels: the operators' contracts and, per path, what computes them.
//!
//! An operator is one file in [`mod@reference`]: its parameters, the check of shapes and
//! spans that makes its kernel unable to fail, how its work divides over a team, and the
//! portable kernel, which *defines* the result to the bit. Every other path is a folder
//! of kernels that equal it. To add an operator, write its file and add a line to
//! `operators!` below.
//!
//! Kernels know shapes and bytes, neither layers nor plans nor threads.
#![deny(unsafe_code)]

use core::fmt;
use core::num::NonZero;

use serde::{Deserialize, Serialize};

use crate::tensor::{Hwc, Split, Tile, View};
use crate::values::{Malformed, Values};
use crate::weights::Weights;

#[cfg(target_arch = "x86_64")]
pub mod amx;
#[cfg(target_arch = "x86_64")]
pub mod avx2;
#[cfg(target_arch = "x86_64")]
pub mod avx512vnni;
#[cfg(feature = "check-kernels")]
#[allow(unsafe_code)]
pub(crate) mod check;
#[cfg(target_arch = "x86_64")]
mod compiled;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
pub mod dotprod;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
pub mod i8mm;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
pub mod neon;
pub mod packed;
pub mod reference;
mod runs;
mod window;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use window::Window;

/// An instruction-set level. It fixes the packed layout of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Path {
    /// Portable Rust; the definition of correct.
    Reference,
    /// Armv8.0 Advanced SIMD.
    Neon,
    /// Armv8.2 `SDOT`.
    Dotprod,
    /// Armv8.6 `SMMLA`.
    I8mm,
    /// x86-64 AVX2.
    Avx2,
    /// x86-64 AVX-512 VNNI.
    Avx512Vnni,
    /// x86-64 AMX, and AVX-512 VNNI for all else.
    Amx,
}

impl Path {
    /// All paths, in the order of their codes.
    pub const ALL: [Self; 7] = [
        Self::Reference,
        Self::Neon,
        Self::Dotprod,
        Self::I8mm,
        Self::Avx2,
        Self::Avx512Vnni,
        Self::Amx,
    ];

    /// The name used on command lines and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Neon => "neon",
            Self::Dotprod => "dotprod",
            Self::I8mm => "i8mm",
            Self::Avx2 => "avx2",
            Self::Avx512Vnni => "avx512vnni",
            Self::Amx => "amx",
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Most inputs of one operator.
pub const MAX_INPUTS: usize = 2;

/// What one core computes in one layer of one frame.
#[derive(Debug)]
pub struct Io<'a> {
    /// Whole inputs, in the operator's order.
    pub inputs: heapless::Vec<View<'a>, MAX_INPUTS>,
    /// This core's part of the output.
    pub output: Tile<'a>,
}

/// Extents of an operator's inputs and output.
#[derive(Clone, Copy, Debug)]
pub struct Signature<'a> {
    /// Extents of the inputs.
    pub inputs: &'a [Hwc],
    /// Extents of the output.
    pub output: Hwc,
}

/// Why an operator was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum OpError {
    /// The operator takes another number of inputs.
    Inputs {
        /// Inputs found.
        found: u8,
    },
    /// Input and output extents contradict each other or the parameters.
    Shape,
    /// A parameter is outside its range.
    Parameter {
        /// Its name.
        name: &'static str,
    },
    /// A span is misaligned, outside its section, or not as long as the shapes ask.
    Span {
        /// What it holds.
        name: &'static str,
    },
    /// This program does not know the operator.
    Unknown,
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inputs { found } => write!(f, "cannot take {found} inputs"),
            Self::Shape => f.write_str("shapes of inputs and output do not fit together"),
            Self::Parameter { name } => write!(f, "parameter {name} out of range"),
            Self::Span { name } => write!(f, "span of {name} does not fit"),
            Self::Unknown => f.write_str("operator is not part of this program"),
        }
    }
}
impl core::error::Error for OpError {}

/// An operator's parameters and what is true of it on every path.
pub trait Operator {
    /// Name in reports; TFLite's where it has one.
    const NAME: &'static str;

    /// Whether the output may be written over an input of the same layout: every kernel then
    /// reads an input's elements only for the output elements at the same place, and before
    /// it writes those.
    const IN_PLACE: bool = false;

    /// Checks everything the kernels rely on. Untrusted bytes come this far.
    ///
    /// # Errors
    ///
    /// The first thing that does not fit.
    fn check(&self, signature: Signature<'_>, weights: &Weights<'_>) -> Result<(), OpError>;

    /// How the work divides over a team.
    fn split(&self) -> Split {
        Split::RowsOrChannels { step: 16 }
    }

    /// The path whose layout the weights have; None for parameters that every path can read.
    fn path(&self) -> Option<Path> {
        None
    }

    /// Multiply-accumulates of one inference.
    fn macs(&self, _signature: Signature<'_>) -> u64 {
        0
    }
}

/// Computes `io.output` from `io.inputs`; cannot fail once the parameters are checked.
///
/// # Safety
///
/// The core that calls it can execute the kernels of its table, as
/// [`supported`](KernelTable::supported) tells there.
pub type Kernel<P> = unsafe fn(params: &P, weights: &Weights<'_>, io: &Io<'_>);

/// Why an operator could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadError {
    /// The bytes are no operator.
    Malformed,
    /// This program does not know it.
    Unknown {
        /// Its number.
        number: u32,
    },
}

impl From<Malformed> for ReadError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// An operator as a program knows it: what reads its parameters and what checks them.
///
/// [`KNOWN`] has them all. A firmware for one network links only those that it has.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    number: u32,
    read: fn(&mut Values<'_>) -> Result<Op, Malformed>,
    check: fn(&Op, Signature<'_>, &Weights<'_>) -> Result<(), OpError>,
}

impl Known {
    /// The one of `known` that artefacts have the number `number` for.
    fn find(known: &[Self], number: u32) -> Option<&Self> {
        known.iter().find(|operator| operator.number == number)
    }
}

impl Op {
    /// Rows of a depthwise convolution after which the pointwise convolution `next` can go on with
    /// them, if it reads them; `None` where it needs others, and where nothing is won.
    #[must_use]
    pub fn rows_at_once(&self, next: &Self) -> Option<NonZero<u16>> {
        let (Self::PackedDepthwiseConv2d(depthwise), Self::PackedConv2d(next)) = (self, next)
        else {
            return None;
        };
        NonZero::new(depthwise.rows_at_once).filter(|_| next.window.is_pointwise())
    }

    /// The next of `values`.
    pub(crate) fn read(values: &mut Values<'_>, known: &[Known]) -> Result<Self, ReadError> {
        let number = values.next()?;
        let known = Known::find(known, number).ok_or(ReadError::Unknown { number })?;
        Ok((known.read)(values)?)
    }

    /// [`Operator::check`] of the parameters inside.
    ///
    /// # Errors
    ///
    /// The first thing that does not fit, or that the operator is not among those `known`.
    pub fn check(
        &self,
        known: &[Known],
        signature: Signature<'_>,
        weights: &Weights<'_>,
    ) -> Result<(), OpError> {
        let known = Known::find(known, self.number()).ok_or(OpError::Unknown)?;
        (known.check)(self, signature, weights)
    }
}

macro_rules! operators {
    ($($(#[$doc:meta])* $home:ident::$variant:ident => $field:ident,)*) => {
        /// One operator with its parameters.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Op {
            $($(#[$doc])* $variant($home::$variant),)*
        }

        /// The kernels of one path. A firmware links only those its table names.
        #[derive(Debug)]
        pub struct KernelTable {
            /// The path they were written for.
            pub path: Path,
            /// Whether the core that runs this call can execute them.
            pub supported: fn() -> bool,
            $($(#[$doc])* pub $field: Option<Kernel<$home::$variant>>,)*
        }

        impl KernelTable {
            /// A table without kernels, to be filled by struct update.
            #[must_use]
            pub const fn empty(path: Path, supported: fn() -> bool) -> Self {
                Self { path, supported, $($field: None,)* }
            }

            /// True when the table has a kernel for `op`.
            #[must_use]
            pub const fn has(&self, op: &Op) -> bool {
                match op {
                    $(Op::$variant(_) => self.$field.is_some(),)*
                }
            }

            /// The portable kernels of every operator, to be replaced by struct update.
            #[must_use]
            pub const fn portable(path: Path, supported: fn() -> bool) -> Self {
                Self { path, supported, $($field: Some($home::$field),)* }
            }

            /// Runs the kernel for `op`; does nothing when [`has`](Self::has) is false.
            ///
            /// # Safety
            ///
            /// [`supported`](Self::supported) is true on the core that calls this.
            #[allow(unsafe_code)]
            pub unsafe fn run(&self, op: &Op, weights: &Weights<'_>, io: &Io<'_>) {
                match op {
                    $(Op::$variant(params) => if let Some(kernel) = self.$field {
                        // SAFETY: the caller's promise.
                        unsafe { kernel(params, weights, io) };
                    })*
                }
            }
        }

        /// The operators by name.
        #[derive(Clone, Copy, Debug)]
        pub struct Operators {
            $($(#[$doc])* pub $field: Known,)*
        }

        /// The numbers that artefacts have for operators.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Number {
            $($variant,)*
        }

        /// All operators by name.
        pub const OPERATORS: Operators = Operators {
            $($field: Known {
                number: Number::$variant as u32,
                read: |values| values.next().map(Op::$variant),
                check: |op, signature, weights| match op {
                    Op::$variant(params) => params.check(signature, weights),
                    _ => Err(OpError::Unknown),
                },
            },)*
        };

        /// All operators.
        pub const KNOWN: &[Known] = &[$(OPERATORS.$field,)*];

        impl Op {
            /// The number that artefacts have for the operator.
            const fn number(&self) -> u32 {
                match self {
                    $(Self::$variant(_) => Number::$variant as u32,)*
                }
            }

            /// Name in reports.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => <$home::$variant as Operator>::NAME,)*
                }
            }

            /// The field of [`KernelTable`] that has its kernel.
            #[must_use]
            pub const fn field(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => stringify!($field),)*
                }
            }

            /// [`Operator::IN_PLACE`] of the operator inside.
            #[must_use]
            pub const fn in_place(&self) -> bool {
                match self {
                    $(Self::$variant(_) => <$home::$variant as Operator>::IN_PLACE,)*
                }
            }

            /// [`Operator::split`] of the parameters inside.
            #[must_use]
            pub fn split(&self) -> Split {
                match self {
                    $(Self::$variant(params) => params.split(),)*
                }
            }

            /// [`Operator::path`] of the parameters inside.
            #[must_use]
            pub fn path(&self) -> Option<Path> {
                match self {
                    $(Self::$variant(params) => params.path(),)*
                }
            }

            /// [`Operator::macs`] of the parameters inside.
            #[must_use]
            pub fn macs(&self, signature: Signature<'_>) -> u64 {
                match self {
                    $(Self::$variant(params) => params.macs(signature),)*
                }
            }
        }
    };
}

operators! {
    /// Convolution, dense or in groups.
    reference::Conv2d => conv_2d,
    /// Convolution of each channel by itself.
    reference::DepthwiseConv2d => depthwise_conv_2d,
    /// Every output from every input.
    reference::FullyConnected => fully_connected,
    /// Average over a window.
    reference::AveragePool2d => average_pool_2d,
    /// Maximum over a window.
    reference::MaxPool2d => max_pool_2d,
    /// Average over whole axes.
    reference::Mean => mean,
    /// Element-wise sum.
    reference::Add => add,
    /// The input moved into a wider one filled with a constant.
    reference::Pad => pad,
    /// The input, unchanged.
    reference::Copy => copy,
    /// Each element through a table of 256.
    reference::Lookup => lookup,
    /// Weights as an activation.
    reference::Constant => constant,
    /// Exponentials, normalised along the channels.
    reference::Softmax => softmax,
    /// Element-wise difference.
    reference::Sub => sub,
    /// Element-wise product.
    reference::Mul => mul,
    /// Element-wise larger code.
    reference::Maximum => maximum,
    /// Element-wise smaller code.
    reference::Minimum => minimum,
    /// Negative elements by factors.
    reference::Prelu => prelu,
    /// Convolution the other way round.
    reference::TransposeConv => transpose_conv,
    /// Axes exchanged, walked in steps or backwards.
    reference::Rearrange => rearrange,
    /// Another image size, of the nearest pixels.
    reference::ResizeNearestNeighbor => resize_nearest_neighbor,
    /// Another image size, interpolated.
    reference::ResizeBilinear => resize_bilinear,
    /// [`Conv2d`](reference::Conv2d) or [`FullyConnected`](reference::FullyConnected) with
    /// weights in the layout of a path.
    packed::PackedConv2d => packed_conv_2d,
    /// [`DepthwiseConv2d`](reference::DepthwiseConv2d) with weights in the layout of a path.
    packed::PackedDepthwiseConv2d => packed_depthwise_conv_2d,
}

/// The portable kernels of every operator.
pub static REFERENCE: KernelTable = KernelTable::portable(Path::Reference, || true);

/// The tables that can be linked for this target, the fastest first.
pub const ALL: &[&KernelTable] = &[
    #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
    &i8mm::TABLE,
    #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
    &dotprod::TABLE,
    #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
    &neon::TABLE,
    #[cfg(target_arch = "x86_64")]
    &amx::TABLE,
    #[cfg(target_arch = "x86_64")]
    &avx512vnni::TABLE,
    #[cfg(target_arch = "x86_64")]
    &avx2::TABLE,
    &REFERENCE,
];
