//! Arrays, archives and pictures made to do harm: each is refused in little memory.

use std::io::{Cursor, Write};

use image::{ImageError, ImageReader};
use pipeit_rt::artefact::checksum;
use pipeit_rt::model::{Element, Port, TensorId};
use pipeit_rt::tensor::Shape;
use pipeit_tool::arrays::{Array, ArrayReason};
use pipeit_tool::goldens;
use pipeit_tool::images::ImageInput;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::allocator::in_little_memory;

/// A `.npy` file of version 2 with this header and no elements.
fn npy(header: &str) -> Vec<u8> {
    let len = (header.len() as u32).to_le_bytes();
    [b"\x93NUMPY\x02\0", &len[..], header.as_bytes()].concat()
}

fn read(name: &str, file: &[u8]) -> ArrayReason {
    in_little_memory(name, || Array::read(file)).expect_err(name)
}

#[test]
fn arrays_that_claim_more_than_there_is() {
    let header = |shape: &str| {
        npy(&format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape}), }}"))
    };
    for shape in
        ["1,", "4611686018427387904,", "4294967296, 4294967296", "65536, 65536, 65536, 65536"]
    {
        assert!(matches!(read(shape, &header(shape)), ArrayReason::Cut), "{shape}");
    }
    let beyond = header("18446744073709551616,");
    assert!(matches!(read("an extent of 2^64", &beyond), ArrayReason::Header));
    let mut long = header("1,");
    long[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(read("a header of 4 GB", &long), ArrayReason::Cut));
}

#[test]
fn arrays_with_brackets_in_brackets() {
    for bracket in ["[", "{", "("] {
        let file = npy(&bracket.repeat(100_000));
        assert!(matches!(read(bracket, &file), ArrayReason::Header), "{bracket}");
    }
}

/// Packed a thousand times smaller, and too much only together.
#[test]
fn archives_that_unpack_to_far_more() {
    let zeros = vec![0; 20 << 20];
    let mut packed = Cursor::new(Vec::new());
    let mut archive = ZipWriter::new(&mut packed);
    for index in 0..8 {
        let key = format!("t{index}_op{index}_ADD.npy");
        archive.start_file(key, SimpleFileOptions::default()).expect("an entry");
        let header = "{'descr': '|i1', 'fortran_order': False, 'shape': (20971520,), }";
        archive.write_all(&npy(header)).expect("a header");
        archive.write_all(&zeros).expect("zeros");
    }
    archive.finish().expect("an archive");
    assert!(packed.get_ref().len() < 1 << 20);
    let error = in_little_memory("160 MB of arrays", || goldens::intermediates(packed));
    let error = error.expect_err("refused");
    assert!(error.contains("more than"), "{error}");
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let header = [b"IHDR", &width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]];
    let crc = checksum(&header).to_be_bytes();
    let start = b"\x89PNG\r\n\x1a\n\0\0\0\x0d";
    let data = b"\0\0\0\x0aIDAT\x78\x9c\x03\0\0\0\0\x01\0\0\0\0";
    [start, &header.concat()[..], &crc, data].concat()
}

/// 65535 x 65535 pixels of three channels, in the kind of frame that `frame` marks.
fn jpeg(frame: u8) -> Vec<u8> {
    let quantization = [b"\xff\xdb\0\x43\0", &[1; 64][..]].concat();
    let channels = [1, 0x22, 0, 2, 0x11, 0, 3, 0x11, 0];
    let frame = [&[0xff, frame, 0, 17, 8, 0xff, 0xff, 0xff, 0xff, 3], &channels[..]].concat();
    let scan = b"\xff\xda\0\x0c\x03\x01\0\x02\0\x03\0\0\x3f\0";
    [b"\xff\xd8", &quantization[..], &frame, scan].concat()
}

fn bmp(width: u32, height: u32) -> Vec<u8> {
    let fields = [54, 0, 54, 40, width, height, 1 | 24 << 16, 0, 0, 0, 0, 0, 0];
    [b"BM", &fields.map(u32::to_le_bytes).concat()[..]].concat()
}

fn input() -> ImageInput {
    let shape = Shape::new(&[1, 8, 8, 3]).expect("a shape");
    let port = Port { tensor: TensorId(0), scale: 1.0, zero_point: 0, element: Element::I8 };
    ImageInput::new(&port, &shape, None).expect("an input")
}

#[test]
fn pictures_that_claim_more_than_there_is() {
    for (name, file) in [
        ("a large PNG", png(65_535, 65_535)),
        ("the largest PNG", png(i32::MAX as u32, i32::MAX as u32)),
        ("a baseline JPEG", jpeg(0xc0)),
        ("a progressive JPEG", jpeg(0xc2)),
        ("a BMP", bmp(65_535, 65_535)),
    ] {
        let reader = ImageReader::new(Cursor::new(file)).with_guessed_format().expect("bytes");
        let error = in_little_memory(name, || input().decode(reader)).expect_err(name);
        assert!(matches!(error, ImageError::Limits(_)), "{name}: {error}");
    }
}

/// The second channel has finer samples than the first: the decoder's vector code for x86 panics,
/// its portable code does not.
#[test]
fn a_picture_that_the_decoder_gives_up_on() {
    let file = include_bytes!("data/gives_up.jpg");
    let reader = ImageReader::new(Cursor::new(file)).with_guessed_format().expect("bytes");
    let decoded = in_little_memory("a JPEG", || input().decode(reader));
    if cfg!(target_arch = "x86_64") {
        let error = decoded.expect_err("refused");
        assert!(error.to_string().contains("gave up"), "{error}");
    }
}
