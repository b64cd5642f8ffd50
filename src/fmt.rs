//! One logging macro over `defmt`, `log` or nothing, in this order of preference.

/// A message for someone who looks into the runtime at work.
macro_rules! debug {
    ($format:literal $(, $value:expr)* $(,)?) => {{
        #[cfg(feature = "defmt")]
        ::defmt::debug!($format $(, $value)*);
        #[cfg(all(feature = "log", not(feature = "defmt")))]
        ::log::debug!($format $(, $value)*);
        #[cfg(not(any(feature = "defmt", feature = "log")))]
        { $(let _ = &$value;)* }
    }};
}
