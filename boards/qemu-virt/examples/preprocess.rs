//! A firmware with a heap: pictures and a filter are allocated and prepared before the first
//! frame, in floating point. While frames flow, nothing allocates.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use core::mem::MaybeUninit;

use embedded_alloc::LlffHeap;
use pipeit_board::{board, println};
use pipeit_firmware::Source;
use pipeit_rt::Model;

include!(concat!(env!("OUT_DIR"), "/network.rs"));

board!(qemu_virt::BOARD, main);

/// Its lock is the critical section of all cores.
#[global_allocator]
static HEAP: LlffHeap = LlffHeap::empty();

const HEAP_BYTES: usize = 64 * 1024;
static mut HEAP_MEMORY: [MaybeUninit<u8>; HEAP_BYTES] = [MaybeUninit::uninit(); HEAP_BYTES];

fn main() -> ! {
    let memory = &raw mut HEAP_MEMORY as usize;
    // SAFETY: called once, with memory that is used for nothing else.
    unsafe { HEAP.init(memory, HEAP_BYTES) };
    let mut pictures = Pictures::new();
    println!("heap: {} of {HEAP_BYTES} bytes", HEAP.used());
    pipeit_firmware::run(OPERATORS, KERNELS, &mut pictures)
}

/// Pixels of a picture, in each direction.
const SIZE: usize = 64;
/// Taps of the filter.
const TAPS: usize = 9;

/// A blob of light, blurred, that moves.
struct Pictures {
    /// `SIZE` rows of `SIZE` pixels, 0 to 1.
    pixels: Vec<f32>,
    /// Frames so far.
    frames: usize,
    /// Bytes of the heap that are in use from the start.
    heap_used: usize,
}

impl Pictures {
    fn new() -> Self {
        let blob = |x: usize, y: usize| if x / 16 == 1 && y / 16 == 2 { 1.0 } else { 0.0 };
        let sharp: Vec<f32> = (0..SIZE * SIZE).map(|i| blob(i % SIZE, i / SIZE)).collect();
        let distance = |tap: usize| tap as f32 - (TAPS / 2) as f32;
        let filter: Vec<f32> =
            (0..TAPS).map(|tap| libm::expf(-distance(tap) * distance(tap) / 8.0)).collect();
        let sum: f32 = filter.iter().sum();
        let blur = |i: usize| {
            let (x, y) = (i % SIZE, i / SIZE);
            let tap = |t: usize| sharp[y * SIZE + (x + t + SIZE - TAPS / 2) % SIZE] * filter[t];
            (0..TAPS).map(tap).sum::<f32>() / sum
        };
        let pixels = (0..SIZE * SIZE).map(blur).collect();
        drop((sharp, filter));
        Self { pixels, frames: 0, heap_used: HEAP.used() }
    }
}

impl Source for Pictures {
    fn fill(&mut self, model: &Model<'_>, input: usize, codes: &mut [i8]) {
        assert_eq!(HEAP.used(), self.heap_used, "nothing allocates while frames flow");
        let Some(port) = model.inputs.get(input) else { return };
        let Some(hwc) = model.tensor(port.tensor).map(|tensor| tensor.layout.hwc) else { return };
        let (h, w, c) = (hwc.h as usize, hwc.w as usize, hwc.c as usize);
        for (i, code) in codes.iter_mut().enumerate() {
            let (x, y) = (i / c % w, i / c / w);
            // The picture moves to the right.
            let column = (x * SIZE / w + self.frames) % SIZE;
            let real = self.pixels[y * SIZE / h * SIZE + column];
            let quantised = libm::roundf(real / port.scale) + f32::from(port.zero_point);
            *code = quantised as i8;
        }
        self.frames += 1;
    }
}
