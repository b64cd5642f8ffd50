//! Changes inputs so that most of them get past the checks of their form.

pub mod artefact;
pub mod tflite;
mod tree;

/// libFuzzer's way to change `data[..size]`, to at most so many bytes; returns how many.
pub type Bytes = fn(data: &mut [u8], size: usize, max_size: usize) -> usize;

/// Writes `new` over the front of `data`, if it is not longer than `max_size`; its length.
fn put(data: &mut [u8], max_size: usize, new: &[u8]) -> Option<usize> {
    let room = data.get_mut(..new.len()).filter(|room| room.len() <= max_size)?;
    room.copy_from_slice(new);
    Some(new.len())
}
