//! Portable kernels as the compiler makes them of the instructions of a path: it turns their loops
//! into vectors.

/// A kernel for each portable one that is named, compiled for CPU features.
macro_rules! compiled {
    ($features:literal, $($kernel:ident($params:ty)),* $(,)?) => {$(
        /// # Safety
        ///
        /// [`supported`].
        #[target_feature(enable = $features)]
        unsafe fn $kernel(params: &$params, weights: &Weights<'_>, io: &Io<'_>) {
            reference::$kernel(params, weights, io);
        }
    )*};
}
pub(super) use compiled;
