//! Fits what each unit of a feature costs: non-negative least squares on relative errors.
//!
//! ```text
//! min  Σ samples (Σ features cost · amount / time − 1)²  +  ridge · Σ features (cost / prior − 1)²
//! with cost ≥ 0
//! ```
//!
//! The second sum keeps a feature that no sample shows at its prior.

/// A measured time and what it was spent on.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Amount of each feature.
    pub features: Vec<f64>,
    /// Nanoseconds measured.
    pub ns: f64,
}

/// Passes over all features; the fits here have settled after some hundreds.
const PASSES: usize = 2000;

/// Nanoseconds per unit of each feature, by coordinate descent from the prior.
///
/// `prior` has one entry per feature, above zero.
#[must_use]
pub fn fit(samples: &[Sample], prior: &[f64], ridge: f64) -> Vec<f64> {
    // In units of the prior, and of the measured time.
    let columns: Vec<Vec<f64>> = (0..prior.len())
        .map(|at| samples.iter().map(|s| s.features[at] * prior[at] / s.ns).collect())
        .collect();
    let mut scale = vec![1.0; prior.len()];
    let mut errors: Vec<f64> = (0..samples.len())
        .map(|row| columns.iter().map(|column| column[row]).sum::<f64>() - 1.0)
        .collect();
    for _ in 0..PASSES {
        for (column, scale) in columns.iter().zip(&mut scale) {
            let gradient: f64 = column.iter().zip(&errors).map(|(x, error)| x * error).sum();
            let curvature: f64 = column.iter().map(|x| x * x).sum();
            let step = (gradient + ridge * (*scale - 1.0)) / (curvature + ridge);
            let next = (*scale - step).max(0.0);
            for (x, error) in column.iter().zip(&mut errors) {
                *error += x * (next - *scale);
            }
            *scale = next;
        }
    }
    scale.iter().zip(prior).map(|(scale, prior)| scale * prior).collect()
}

/// Nanoseconds that these amounts of the features cost.
#[must_use]
pub fn predict(features: &[f64], ns_per_unit: &[f64]) -> f64 {
    features.iter().zip(ns_per_unit).map(|(amount, ns)| amount * ns).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn exact_costs_are_found(
            costs in prop::collection::vec(0.1f64..10.0, 3),
            rows in prop::collection::vec(prop::collection::vec(0.0f64..9.0, 3), 12..20),
        ) {
            let sample = |features: Vec<f64>| {
                let ns = predict(&features, &costs);
                Sample { features, ns }
            };
            let samples: Vec<_> = rows.into_iter().map(sample).filter(|s| s.ns > 1.0).collect();
            let found = fit(&samples, &[1.0; 3], 1e-9);
            for sample in &samples {
                let error = predict(&sample.features, &found) / sample.ns - 1.0;
                prop_assert!(error.abs() < 1e-3, "{error}");
            }
        }
    }

    #[test]
    fn what_no_sample_shows_keeps_its_prior() {
        let samples = [Sample { features: vec![2.0, 0.0], ns: 10.0 }];
        let found = fit(&samples, &[1.0, 7.0], 1e-6);
        assert!((found[0] - 5.0).abs() < 1e-3);
        assert_eq!(found[1], 7.0);
    }

    #[test]
    fn no_cost_is_below_zero() {
        let sample = |features: [f64; 2], ns| Sample { features: features.to_vec(), ns };
        let samples = [sample([1.0, 1.0], 1.0), sample([1.0, 2.0], 0.5), sample([1.0, 0.0], 1.5)];
        let found = fit(&samples, &[1.0; 2], 1e-6);
        // Σ 1/t over Σ 1/t²: small times weigh more.
        assert!((found[0] - 33.0 / 49.0).abs() < 1e-3 && found[1] == 0.0, "{found:?}");
    }
}
