//! Pictures as the input of a network: crop, resize, quantise.
//!
//! The largest centred square is resized by plain bilinear interpolation between pixel
//! centres, without smoothing; then each pixel value has one code per channel.

use std::io::{BufRead, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use image::error::{DecodingError, ImageFormatHint};
use image::{DynamicImage, ImageReader};
use pipeit_rt::model::{Element, Port};
use pipeit_rt::tensor::{Hwc, Shape};

use crate::arrays::{dequantize, from_unsigned, quantize};

/// The real value a network expects for a pixel value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Normalize {
    /// 0 to 255, as they are
    Raw,
    /// 0 to 1
    Unit,
    /// -1 to 1
    Signed,
    /// Blue, green, red, less the means 104, 117 and 123
    Caffe,
}

impl Normalize {
    const ALL: [Self; 4] = [Self::Raw, Self::Unit, Self::Signed, Self::Caffe];

    fn real(self, pixel: u8, channel: usize) -> f32 {
        let pixel = f32::from(pixel);
        match self {
            Self::Raw => pixel,
            Self::Unit => pixel / 255.0,
            Self::Signed => pixel / 127.5 - 1.0,
            Self::Caffe => pixel - [104.0, 117.0, 123.0][channel.min(2)],
        }
    }

    /// The one whose values fill the range of `port`'s codes best.
    fn of(port: &Port, channels: usize) -> Self {
        let (low, high) = (dequantize(-128, port), dequantize(127, port));
        let distance = |normalize: &Self| {
            let (first, last) = (normalize.real(0, 0), normalize.real(255, channels - 1));
            ((low - first).abs() + (high - last).abs()) / (last - first)
        };
        let candidates = Self::ALL.into_iter().filter(|&n| n != Self::Caffe || channels == 3);
        candidates.min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(Self::Raw)
    }
}

/// Makes frames of pictures, for one network.
#[derive(Clone, Debug)]
pub struct ImageInput {
    hwc: Hwc,
    /// What a pixel value stands for; `None` when it is the code itself.
    pub normalize: Option<Normalize>,
    /// The codes of each pixel value, per channel of the network's input.
    codes: Vec<[i8; 256]>,
}

/// Why a picture could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The network does not take pictures.
    #[error("the network's input of shape {shape} is no picture: want 1 or 3 channels")]
    Input {
        /// Shape of the input.
        shape: Shape,
    },
    /// This normalisation is for colours.
    #[error("--normalize caffe needs 3 channels, the network takes 1")]
    Channels,
    /// The file could not be read.
    #[error("{}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: image::ImageError,
    },
    /// The folder has no pictures.
    #[error("{}: no PNG, JPEG or BMP files in this folder", path.display())]
    EmptyFolder {
        /// The folder.
        path: PathBuf,
    },
}

impl ImageInput {
    /// For `port` of shape `shape`; without `normalize`, legacy uint8 networks get the pixel
    /// values as codes, others what fits their quantisation.
    ///
    /// # Errors
    ///
    /// [`ImageError::Input`], [`ImageError::Channels`].
    pub fn new(
        port: &Port,
        shape: &Shape,
        normalize: Option<Normalize>,
    ) -> Result<Self, ImageError> {
        let hwc = shape.hwc();
        let channels = hwc.c as usize;
        if shape.dims().len() < 3 || ![1, 3].contains(&channels) {
            return Err(ImageError::Input { shape: *shape });
        }
        if normalize == Some(Normalize::Caffe) && channels == 1 {
            return Err(ImageError::Channels);
        }
        let as_codes = port.element == Element::U8 && normalize.is_none();
        let normalize =
            (!as_codes).then(|| normalize.unwrap_or_else(|| Normalize::of(port, channels)));
        let code = |pixel: u8, channel| match normalize {
            None => from_unsigned(pixel),
            Some(normalize) => quantize(normalize.real(pixel, channel), port),
        };
        let table = |channel| std::array::from_fn(|pixel| code(pixel as u8, channel));
        Ok(Self { hwc, normalize, codes: (0..channels).map(table).collect() })
    }

    /// The codes of the picture in the file `path`.
    ///
    /// # Errors
    ///
    /// [`ImageError::Read`].
    pub fn load(&self, path: &Path) -> Result<Vec<i8>, ImageError> {
        ImageReader::open(path)
            .and_then(ImageReader::with_guessed_format)
            .map_err(image::ImageError::IoError)
            .and_then(|reader| self.decode(reader))
            .map_err(|source| ImageError::Read { path: path.to_owned(), source })
    }

    /// The codes of the picture that `reader` decodes.
    ///
    /// # Errors
    ///
    /// It is damaged, or takes more memory than `image` gives.
    pub fn decode(
        &self,
        reader: ImageReader<impl BufRead + Seek>,
    ) -> Result<Vec<i8>, image::ImageError> {
        let format = reader.format().map_or(ImageFormatHint::Unknown, ImageFormatHint::Exact);
        // The decoder of JPEG panics at some damaged files.
        let decoded = catch_unwind(AssertUnwindSafe(|| reader.decode()));
        let decoded = decoded.unwrap_or_else(|_| {
            Err(image::ImageError::Decoding(DecodingError::new(format, "the decoder gave up")))
        });
        Ok(self.codes(&decoded?))
    }

    /// The codes of a picture.
    #[must_use]
    pub fn codes(&self, image: &DynamicImage) -> Vec<i8> {
        let side = image.width().min(image.height());
        let (left, top) = ((image.width() - side) / 2, (image.height() - side) / 2);
        let square = image.crop_imm(left, top, side, side);
        let channels = self.codes.len();
        let pixels = if channels == 1 {
            square.into_luma8().into_raw()
        } else {
            square.into_rgb8().into_raw()
        };
        let pixels = resize(&pixels, side as usize, self.hwc);
        let reverse = self.normalize == Some(Normalize::Caffe);
        let mut codes = Vec::with_capacity(pixels.len());
        for pixel in pixels.chunks_exact(channels) {
            for (channel, table) in self.codes.iter().enumerate() {
                let from = if reverse { channels - 1 - channel } else { channel };
                codes.push(table[usize::from(pixel[from])]);
            }
        }
        codes
    }
}

/// A square of `side` pixels, resized to `to`.
fn resize(pixels: &[u8], side: usize, to: Hwc) -> Vec<u8> {
    let channels = to.c as usize;
    let (rows, columns) = (axis(side, to.h as usize), axis(side, to.w as usize));
    let at = |y: usize, x: usize, c: usize| f32::from(pixels[(y * side + x) * channels + c]);
    let mut resized = Vec::with_capacity(to.elements());
    for &(y0, y1, fy) in &rows {
        for &(x0, x1, fx) in &columns {
            for c in 0..channels {
                let upper = at(y0, x0, c) + (at(y0, x1, c) - at(y0, x0, c)) * fx;
                let lower = at(y1, x0, c) + (at(y1, x1, c) - at(y1, x0, c)) * fx;
                resized.push((upper + (lower - upper) * fy).round() as u8);
            }
        }
    }
    resized
}

/// For each of `to` pixels: its neighbours among `from`, and the weight of the second.
fn axis(from: usize, to: usize) -> Vec<(usize, usize, f32)> {
    let scale = from as f32 / to as f32;
    let last = from.saturating_sub(1);
    let neighbours = |i: usize| {
        let centre = ((i as f32 + 0.5) * scale - 0.5).clamp(0.0, last as f32);
        let first = centre as usize;
        (first, (first + 1).min(last), centre - first as f32)
    };
    (0..to).map(neighbours).collect()
}

/// The pictures that `path` names: itself, or those in the folder, by name.
///
/// # Errors
///
/// A folder that has none or cannot be read.
pub fn files(path: &Path) -> Result<Vec<PathBuf>, ImageError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let unreadable = |error| ImageError::Read {
        path: path.to_owned(),
        source: image::ImageError::IoError(error),
    };
    let mut files = Vec::new();
    for entry in path.read_dir().map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        let extension = file.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if ["png", "jpg", "jpeg", "bmp"].contains(&extension.to_ascii_lowercase().as_str()) {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        Err(ImageError::EmptyFolder { path: path.to_owned() })
    } else {
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, RgbImage};
    use pipeit_rt::model::TensorId;

    fn port(low: f32, high: f32, element: Element) -> Port {
        let scale = (high - low) / 255.0;
        let zero_point = (-128.0 - low / scale).round() as i8;
        Port { tensor: TensorId(0), scale, zero_point, element }
    }

    #[test]
    fn the_range_of_the_codes_tells_the_normalisation() {
        let shape = Shape::new(&[1, 4, 4, 3]).unwrap();
        let found = |low, high, element| {
            ImageInput::new(&port(low, high, element), &shape, None).unwrap().normalize
        };
        assert_eq!(found(0.0, 1.0, Element::I8), Some(Normalize::Unit));
        assert_eq!(found(-1.0, 0.99, Element::I8), Some(Normalize::Signed));
        assert_eq!(found(0.0, 255.0, Element::F32), Some(Normalize::Raw));
        assert_eq!(found(-123.0, 151.0, Element::I8), Some(Normalize::Caffe));
        assert_eq!(found(-1.0, 1.0, Element::U8), None);
    }

    #[test]
    fn a_picture_is_cropped_and_resized() {
        let shape = Shape::new(&[1, 2, 2, 1]).unwrap();
        let input = ImageInput::new(&port(0.0, 255.0, Element::I8), &shape, None).unwrap();
        // Six columns, of which the middle four are used.
        let pixels = (0..4).flat_map(|y| (0..6).map(move |x| y * 40 + x * 10)).collect();
        let image = GrayImage::from_raw(6, 4, pixels).unwrap();
        let codes: Vec<_> = [35, 55, 115, 135].iter().map(|p| p - 128).map(|c| c as i8).collect();
        assert_eq!(input.codes(&image.into()), codes);
        assert_eq!(axis(2, 4), [(0, 1, 0.0), (0, 1, 0.25), (0, 1, 0.75), (1, 1, 0.0)]);
    }

    #[test]
    fn caffe_reverses_the_channels() {
        let shape = Shape::new(&[1, 1, 1, 3]).unwrap();
        let port = Port { tensor: TensorId(0), scale: 1.0, zero_point: 0, element: Element::I8 };
        let input = ImageInput::new(&port, &shape, Some(Normalize::Caffe)).unwrap();
        let image = RgbImage::from_raw(1, 1, vec![123, 127, 124]).unwrap();
        assert_eq!(input.codes(&image.into()), [20, 10, 0]);
        let gray = Shape::new(&[1, 1, 1, 1]).unwrap();
        let error = ImageInput::new(&port, &gray, Some(Normalize::Caffe));
        assert!(matches!(error, Err(ImageError::Channels)));
        let flat = Shape::new(&[1, 3]).unwrap();
        let error = ImageInput::new(&port, &flat, None);
        assert!(matches!(error, Err(ImageError::Input { .. })));
    }
}
