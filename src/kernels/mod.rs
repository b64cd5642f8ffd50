//! Fixed-point kernels: the operators' contracts and, per path, what computes them.
//!
//! An operator is one file in [`mod@reference`]: its parameters, the check of shapes and
//! spans that makes its kernel unable to fail, how its work divides over a team, and the
//! portable kernel, which *defines* the result to the bit. Every other path is a folder
//! of kernels that equal it. To add an operator, write its file and add a line to
//! `operators!` below.
//!
//! Kernels know shapes and bytes, neither layers nor plans nor threads.
#![forbid(unsafe_code)]

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::tensor::{Hwc, Split, Tile, View};
use crate::weights::Weights;

pub mod reference;
mod window;

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
}

impl Path {
    /// All paths, in the order of their codes.
    pub const ALL: [Self; 6] =
        [Self::Reference, Self::Neon, Self::Dotprod, Self::I8mm, Self::Avx2, Self::Avx512Vnni];

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
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inputs { found } => write!(f, "cannot take {found} inputs"),
            Self::Shape => f.write_str("shapes of inputs and output do not fit together"),
            Self::Parameter { name } => write!(f, "parameter {name} out of range"),
            Self::Span { name } => write!(f, "span of {name} does not fit"),
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
        Split::RowsOrChannels
    }

    /// Multiply-accumulates of one inference.
    fn macs(&self, _signature: Signature<'_>) -> u64 {
        0
    }
}

/// Computes `io.output` from `io.inputs`; cannot fail once the parameters are checked.
pub type Kernel<P> = fn(params: &P, weights: &Weights<'_>, io: &Io<'_>);

macro_rules! operators {
    ($($(#[$doc:meta])* $variant:ident => $field:ident,)*) => {
        /// One operator with its parameters.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Op {
            $($(#[$doc])* $variant(reference::$variant),)*
        }

        /// The kernels of one path. A firmware links only those its table names.
        #[derive(Debug)]
        pub struct KernelTable {
            /// The path they were written for.
            pub path: Path,
            /// Whether the core that runs this call can execute them.
            pub supported: fn() -> bool,
            $($(#[$doc])* pub $field: Option<Kernel<reference::$variant>>,)*
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

            /// Runs the kernel for `op`; does nothing when [`has`](Self::has) is false.
            pub fn run(&self, op: &Op, weights: &Weights<'_>, io: &Io<'_>) {
                match op {
                    $(Op::$variant(params) => if let Some(kernel) = self.$field {
                        kernel(params, weights, io);
                    })*
                }
            }
        }

        impl Op {
            /// Name in reports.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => <reference::$variant as Operator>::NAME,)*
                }
            }

            /// [`Operator::IN_PLACE`] of the operator inside.
            #[must_use]
            pub const fn in_place(&self) -> bool {
                match self {
                    $(Self::$variant(_) => <reference::$variant as Operator>::IN_PLACE,)*
                }
            }

            /// [`Operator::check`] of the parameters inside.
            ///
            /// # Errors
            ///
            /// The first thing that does not fit.
            pub fn check(
                &self,
                signature: Signature<'_>,
                weights: &Weights<'_>,
            ) -> Result<(), OpError> {
                match self {
                    $(Self::$variant(params) => params.check(signature, weights),)*
                }
            }

            /// [`Operator::split`] of the parameters inside.
            #[must_use]
            pub fn split(&self) -> Split {
                match self {
                    $(Self::$variant(params) => params.split(),)*
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

        /// The portable kernels of every operator.
        pub static REFERENCE: KernelTable = KernelTable {
            $($field: Some(reference::$field),)*
            ..KernelTable::empty(Path::Reference, || true)
        };
    };
}

operators! {
    /// Convolution, dense or in groups.
    Conv2d => conv_2d,
    /// Convolution of each channel by itself.
    DepthwiseConv2d => depthwise_conv_2d,
    /// Every output from every input.
    FullyConnected => fully_connected,
    /// Average over a window.
    AveragePool2d => average_pool_2d,
    /// Maximum over a window.
    MaxPool2d => max_pool_2d,
    /// Average over whole axes.
    Mean => mean,
    /// Element-wise sum.
    Add => add,
    /// The input moved into a wider one filled with a constant.
    Pad => pad,
    /// The input, unchanged.
    Copy => copy,
    /// Each element through a table of 256.
    Lookup => lookup,
    /// Weights as an activation.
    Constant => constant,
    /// Exponentials, normalised along the channels.
    Softmax => softmax,
    /// Element-wise difference.
    Sub => sub,
    /// Element-wise product.
    Mul => mul,
    /// Element-wise larger code.
    Maximum => maximum,
    /// Element-wise smaller code.
    Minimum => minimum,
    /// Negative elements by factors.
    Prelu => prelu,
    /// Convolution the other way round.
    TransposeConv => transpose_conv,
    /// Axes exchanged, walked in steps or backwards.
    Rearrange => rearrange,
    /// Another image size, of the nearest pixels.
    ResizeNearestNeighbor => resize_nearest_neighbor,
    /// Another image size, interpolated.
    ResizeBilinear => resize_bilinear,
}
