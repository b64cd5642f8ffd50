//! The tensors of a file and the buffers their constants lie in.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use std::collections::HashMap;
use std::sync::Arc;

use super::schema::{ModelRef, SubGraphRef, TensorRef, TensorType};
use super::{Budget, ImportError};
use crate::graph::{Element, GraphError, MAX_TENSORS, Quantization, Tensor, TensorIndex, at_most};

/// Most dimensions of a tensor that are read; the runtime takes fewer still.
const MAX_RANK: usize = 8;

/// Tensors whose shapes and constants are yet unchecked: an unused one may be anything.
pub(super) struct Tensors<'a>(Vec<RawTensor<'a>>);

struct RawTensor<'a> {
    table: TensorRef<'a>,
    name: &'a str,
    element: Element,
    quantization: Option<Quantization>,
    shape: Vec<i32>,
    /// The shape with unknown extents as -1; empty when all are known.
    signature: Vec<i32>,
}

impl<'a> Tensors<'a> {
    pub(super) fn read(
        subgraph: SubGraphRef<'a>,
        budget: &mut Budget,
    ) -> Result<Self, ImportError> {
        let tables = subgraph.tensors()?.ok_or(ImportError::Missing { what: "tensors" })?;
        at_most("tensors", tables.len(), MAX_TENSORS)?;
        let mut tensors = Vec::new();
        for table in tables.iter() {
            let table = table?;
            let name = table.name()?.unwrap_or_default();
            budget.charge(name.len())?;
            tensors.push(RawTensor {
                table,
                name,
                element: element(table.type_()?),
                quantization: quantization(table, budget)?,
                shape: extents(table.shape()?, name, budget)?,
                signature: extents(table.shape_signature()?, name, budget)?,
            });
        }
        Ok(Self(tensors))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn name(&self, index: TensorIndex) -> &'a str {
        self.0.get(index.0).map_or("", |tensor| tensor.name)
    }

    /// The index `raw` of the file, once checked.
    pub(super) fn index(&self, raw: i32, user: &str) -> Result<TensorIndex, ImportError> {
        match usize::try_from(raw) {
            Ok(index) if index < self.len() => Ok(TensorIndex(index)),
            _ => {
                let (user, tensors) = (user.to_owned(), self.len());
                Err(GraphError::NoTensor { user, index: raw.into(), tensors }.into())
            }
        }
    }

    /// Refuses a network none of whose activations is quantised.
    pub(super) fn check_quantized(
        &self,
        used: &[bool],
        model: ModelRef<'_>,
        file: &[u8],
    ) -> Result<(), ImportError> {
        let mut float = None;
        for (tensor, _) in self.0.iter().zip(used).filter(|&(_, &used)| used) {
            if !content(model, file, tensor.table.buffer()?, tensor.name)?.is_empty() {
                continue;
            }
            match tensor.element {
                Element::I8 | Element::U8 if tensor.quantization.is_some() => return Ok(()),
                Element::F32 => float = float.or(Some(tensor.name)),
                _ => {}
            }
        }
        match float {
            Some(tensor) => Err(ImportError::Float { tensor: tensor.to_owned() }),
            None => Ok(()),
        }
    }

    /// Checks the tensors that are `used` and fetches the constants.
    pub(super) fn finish(
        self,
        used: &[bool],
        model: ModelRef<'_>,
        file: &[u8],
        budget: &mut Budget,
    ) -> Result<Vec<Tensor>, ImportError> {
        let mut buffers = Buffers { model, file, known: HashMap::new() };
        self.0
            .into_iter()
            .zip(used)
            .map(
                |(tensor, &used)| {
                    if used { tensor.finish(&mut buffers, budget) } else { Ok(tensor.unused()) }
                },
            )
            .collect()
    }
}

impl RawTensor<'_> {
    fn unused(self) -> Tensor {
        Tensor {
            name: self.name.to_owned(),
            shape: Vec::new(),
            element: self.element,
            quantization: self.quantization,
            data: None,
        }
    }

    fn finish(self, buffers: &mut Buffers<'_>, budget: &mut Budget) -> Result<Tensor, ImportError> {
        let refused = |reason| ImportError::Tensor { tensor: self.name.to_owned(), reason };
        if self.table.is_variable()? {
            return Err(refused("variables are not supported: a frame leaves no state behind"));
        }
        if self.table.sparsity()?.is_some() {
            return Err(refused("sparse constants are not supported; convert them to dense ones"));
        }
        if self.table.external_buffer()? != 0 {
            return Err(refused("its data lies in another file, which is not supported"));
        }
        let data = buffers.get(self.table.buffer()?, self.name, budget)?;
        let shape = self.fixed_shape(data.is_some())?;
        if let (None, &[batch, _, _, _]) = (&data, shape.as_slice())
            && batch != 1
        {
            return Err(ImportError::Batch { tensor: self.name.to_owned(), batch });
        }
        Ok(Tensor {
            name: self.name.to_owned(),
            shape,
            element: self.element,
            quantization: self.quantization,
            data,
        })
    }

    /// The shape, if every extent of it is known and positive.
    ///
    /// An unknown outermost extent that the file gives as 1 is the batch, which is 1 here.
    fn fixed_shape(&self, constant: bool) -> Result<Vec<u32>, ImportError> {
        let unknown = self.signature.iter().enumerate().any(|(axis, &extent)| {
            let is_batch = axis == 0 && self.shape.first() == Some(&1);
            extent < 0 && !is_batch
        });
        let least = if constant { 0 } else { 1 };
        let shape = self.shape.iter().map(|&d| u32::try_from(d).ok().filter(|&d| d >= least));
        match shape.collect() {
            Some(shape) if constant || !unknown => Ok(shape),
            _ => {
                let shape = if unknown { &self.signature } else { &self.shape };
                Err(ImportError::Dynamic { tensor: self.name.to_owned(), shape: shape.clone() })
            }
        }
    }
}

fn extents(
    list: Option<planus::Vector<'_, i32>>,
    tensor: &str,
    budget: &mut Budget,
) -> Result<Vec<i32>, ImportError> {
    let Some(list) = list else { return Ok(Vec::new()) };
    if list.len() > MAX_RANK {
        let reason = "more than 8 dimensions";
        return Err(ImportError::Tensor { tensor: tensor.to_owned(), reason });
    }
    budget.charge(list.len().saturating_mul(4))?;
    Ok(list.iter().collect())
}

fn quantization(
    tensor: TensorRef<'_>,
    budget: &mut Budget,
) -> Result<Option<Quantization>, ImportError> {
    let Some(table) = tensor.quantization()? else { return Ok(None) };
    let Some(scales) = table.scale()?.filter(|scales| !scales.is_empty()) else {
        return Ok(None);
    };
    budget.charge(scales.len().saturating_mul(4))?;
    let zero_points: Vec<i64> = match table.zero_point()? {
        Some(zero_points) if !zero_points.is_empty() => {
            budget.charge(zero_points.len().saturating_mul(8))?;
            zero_points.iter().collect()
        }
        _ => vec![0],
    };
    // Only per-axis tensors use it; nonsense there is found out when it does not fit.
    let axis = usize::try_from(table.quantized_dimension()?).unwrap_or(usize::MAX);
    Ok(Some(Quantization { scales: scales.iter().collect(), zero_points, axis }))
}

const fn element(code: TensorType) -> Element {
    match code {
        TensorType::Float32 => Element::F32,
        TensorType::Int8 => Element::I8,
        TensorType::Uint8 => Element::U8,
        TensorType::Int32 => Element::I32,
        TensorType::Int64 => Element::I64,
        TensorType::Float16 => Element::Other("float16"),
        TensorType::String => Element::Other("string"),
        TensorType::Bool => Element::Other("bool"),
        TensorType::Int16 => Element::Other("int16"),
        TensorType::Complex64 => Element::Other("complex64"),
        TensorType::Float64 => Element::Other("float64"),
        TensorType::Complex128 => Element::Other("complex128"),
        TensorType::Uint64 => Element::Other("uint64"),
        TensorType::Resource => Element::Other("resource"),
        TensorType::Variant => Element::Other("variant"),
        TensorType::Uint32 => Element::Other("uint32"),
        TensorType::Uint16 => Element::Other("uint16"),
        TensorType::Int4 => Element::Other("int4"),
        TensorType::Bfloat16 => Element::Other("bfloat16"),
        TensorType::Int2 => Element::Other("int2"),
        TensorType::Uint4 => Element::Other("uint4"),
    }
}

/// The buffers of a file, each copied once.
struct Buffers<'a> {
    model: ModelRef<'a>,
    file: &'a [u8],
    known: HashMap<u32, Option<Arc<[u8]>>>,
}

impl Buffers<'_> {
    /// The content of buffer `number`; `None` when it is empty, which marks an activation.
    fn get(
        &mut self,
        number: u32,
        tensor: &str,
        budget: &mut Budget,
    ) -> Result<Option<Arc<[u8]>>, ImportError> {
        if let Some(known) = self.known.get(&number) {
            return Ok(known.clone());
        }
        let data = content(self.model, self.file, number, tensor)?;
        budget.charge(data.len())?;
        let data = (!data.is_empty()).then(|| Arc::from(data));
        self.known.insert(number, data.clone());
        Ok(data)
    }
}

/// The bytes of buffer `number`, of which `tensor` says to consist.
fn content<'a>(
    model: ModelRef<'a>,
    file: &'a [u8],
    number: u32,
    tensor: &str,
) -> Result<&'a [u8], ImportError> {
    let outside = || ImportError::Buffer { tensor: tensor.to_owned(), buffer: number };
    let buffers = model.buffers()?.ok_or_else(outside)?;
    let index = usize::try_from(number).map_err(|_| outside())?;
    let table = buffers.get(index).ok_or_else(outside)??;
    // Files above 2 GB have the data behind the flatbuffer; 1 stands for "nowhere".
    match (table.offset()?, table.size()?) {
        (0 | 1, _) => Ok(table.data()?.unwrap_or_default()),
        (offset, size) => usize::try_from(offset)
            .ok()
            .zip(offset.checked_add(size).and_then(|end| usize::try_from(end).ok()))
            .and_then(|(start, end)| file.get(start..end))
            .ok_or_else(outside),
    }
}
