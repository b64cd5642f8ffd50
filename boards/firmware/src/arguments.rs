//! What the program is called with: words `key=value`, where the board has a way to say them.

use core::fmt;

use heapless::Vec;
use pipeit_board::{Board, MAX_CORES};

/// The settings of a run.
#[derive(Clone, Debug)]
pub(crate) struct Arguments {
    /// `clusters=4+4`: cores of each cluster, where they are not those that the board declares.
    pub(crate) clusters: Vec<u8, MAX_CORES>,
    /// `frames=N`: frames to stream.
    pub(crate) frames: u32,
    /// `ram=BYTES`: how much of the free memory may be used.
    pub(crate) ram_bytes: u32,
    /// `stall-ms=N`: how long a core may take for its share of a layer.
    pub(crate) stall_ms: u32,
    /// `plans=N`: how many of the plans that fit run, one after the other.
    pub(crate) plans: u32,
    /// `live-ms=N`: how long a look at the speed of the clusters takes, after three of which the
    /// plan may change. 0 keeps the plan.
    pub(crate) live_ms: u32,
}

/// Longest time for a share of a layer unless stated: emulators are slow.
const STALL_MS: u32 = 30_000;
/// Frames to stream unless stated.
const FRAMES: u32 = 8;

/// Why the words were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArgumentError {
    /// No such setting.
    Unknown,
    /// A value out of its range.
    Value {
        /// The setting.
        key: &'static str,
    },
}

impl fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("no such argument"),
            Self::Value { key } => write!(f, "bad value of argument {key}"),
        }
    }
}

impl Arguments {
    /// Reads `words`. Those without `=` are passed over: the program's name may be among them.
    ///
    /// # Errors
    ///
    /// [`ArgumentError`].
    pub(crate) fn parse(words: &[u8], board: &Board) -> Result<Self, ArgumentError> {
        let mut found = Self {
            clusters: Vec::new(),
            frames: FRAMES,
            ram_bytes: u32::MAX,
            stall_ms: STALL_MS,
            plans: 1,
            live_ms: 0,
        };
        for word in words.split(|&byte| byte == b' ') {
            let Some(end) = word.iter().position(|&byte| byte == b'=') else { continue };
            let (key, value) = (&word[..end], &word[end + 1..]);
            let numbers = [
                ("frames", &mut found.frames),
                ("ram", &mut found.ram_bytes),
                ("stall-ms", &mut found.stall_ms),
                ("plans", &mut found.plans),
                ("live-ms", &mut found.live_ms),
            ];
            match numbers.into_iter().find(|(name, _)| name.as_bytes() == key) {
                Some((name, setting)) => *setting = number(name, value)?,
                None if key == b"clusters" => found.clusters = clusters(value, board)?,
                #[cfg(feature = "faults")]
                None if key == b"fault" => {
                    crate::faults::request(value).ok_or(ArgumentError::Value { key: "fault" })?;
                }
                None => return Err(ArgumentError::Unknown),
            }
        }
        if found.clusters.is_empty() {
            // As many as there are cores at most, which is what there is room for.
            for cluster in board.clusters {
                let _ = found.clusters.push(cluster.cores);
            }
        }
        Ok(found)
    }
}

fn number(key: &'static str, digits: &[u8]) -> Result<u32, ArgumentError> {
    let append = |number: u32, digit: &u8| {
        let digit = digit.checked_sub(b'0').filter(|&digit| digit < 10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    };
    let number = digits.iter().try_fold(0, append).filter(|_| !digits.is_empty());
    number.ok_or(ArgumentError::Value { key })
}

fn clusters(value: &[u8], board: &Board) -> Result<Vec<u8, MAX_CORES>, ArgumentError> {
    let error = ArgumentError::Value { key: "clusters" };
    let mut found = Vec::new();
    let mut left = board.affinities.len() as u32;
    for cores in value.split(|&byte| byte == b'+') {
        let cores = number("clusters", cores)?;
        left = left.checked_sub(cores).ok_or(error)?;
        found.push(cores as u8).map_err(|_| error)?;
    }
    Ok(found)
}
