//! Fits what each unit of a feature costs: non-negative least squares on relative errors.
//!
//! ```text
//! min  Σ samples (Σ features cost · amount / time − 1)²  +  ridge · Σ features (cost / prior − 1)²
//! with cost ≥ 0
//! ```
//!
//! The second sum keeps a feature that no sample shows at its prior. How far a fit can be
//! trusted is told by networks that it has not seen.

/// A measured time and what it was spent on.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Amount of each feature.
    pub features: Vec<f64>,
    /// Nanoseconds measured.
    pub ns: f64,
}

/// Passes over all features at most; the fits here have settled after some hundreds.
const PASSES: usize = 2000;
/// A fit has settled when no cost changes by more than this share of its prior in a pass.
const SETTLED: f64 = 1e-7;

/// Nanoseconds per unit of each feature, by coordinate descent from the prior.
///
/// `prior` has one entry per feature, above zero.
#[must_use]
pub fn fit(samples: &[Sample], prior: &[f64], ridge: f64) -> Vec<f64> {
    // In units of the prior, and of the measured time: products of all pairs of features summed
    // over the samples, and of each with 1.
    let count = prior.len();
    let mut products = vec![vec![0.0; count]; count];
    let mut gradient = vec![0.0; count];
    for sample in samples {
        let shares: Vec<f64> =
            sample.features.iter().zip(prior).map(|(x, prior)| x * prior / sample.ns).collect();
        let sum: f64 = shares.iter().sum();
        for (x, (row, gradient)) in shares.iter().zip(products.iter_mut().zip(&mut gradient)) {
            row.iter_mut().zip(&shares).for_each(|(product, y)| *product += x * y);
            *gradient += x * (sum - 1.0);
        }
    }
    let mut scale = vec![1.0; count];
    for _ in 0..PASSES {
        let mut largest = 0.0f64;
        for at in 0..count {
            let step = (gradient[at] + ridge * (scale[at] - 1.0)) / (products[at][at] + ridge);
            let change = (scale[at] - step).max(0.0) - scale[at];
            for (gradient, product) in gradient.iter_mut().zip(&products[at]) {
                *gradient += product * change;
            }
            largest = largest.max(change.abs());
            scale[at] += change;
        }
        if largest < SETTLED {
            break;
        }
    }
    scale.iter().zip(prior).map(|(scale, prior)| scale * prior).collect()
}

/// Nanoseconds that these amounts of the features cost.
#[must_use]
pub fn predict(features: &[f64], ns_per_unit: &[f64]) -> f64 {
    features.iter().zip(ns_per_unit).map(|(amount, ns)| amount * ns).sum()
}

/// How well the units of a network are predicted.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkFit {
    /// The network.
    pub name: String,
    /// The units.
    pub units: Vec<UnitFit>,
    /// Nanoseconds of the whole, where it was measured by itself.
    pub whole_ns: Option<f64>,
}

/// A unit's time, as measured and as predicted.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitFit {
    /// Index in the network.
    pub unit: usize,
    /// Nanoseconds as measured.
    pub ns: f64,
    /// Nanoseconds predicted by a fit to all networks.
    pub fitted_ns: f64,
    /// Nanoseconds predicted by a fit to all other networks.
    pub held_out_ns: f64,
}

impl NetworkFit {
    /// Mean absolute error of the units' times, as a share of them, when the fit has not seen
    /// this network.
    #[must_use]
    pub fn held_out_error(&self) -> f64 {
        mean_error(&self.units)
    }

    /// The same when it has.
    #[must_use]
    pub fn fitted_error(&self) -> f64 {
        mean(self.units.iter().map(|unit| (unit.fitted_ns / unit.ns - 1.0).abs()))
    }

    /// Error of the sum over all units against the whole as measured, or where that was not
    /// against the sum of the units as measured, with its sign, when the fit has not seen this
    /// network.
    #[must_use]
    pub fn held_out_whole_error(&self) -> f64 {
        let sum = |of: fn(&UnitFit) -> f64| self.units.iter().map(of).sum::<f64>();
        sum(|unit| unit.held_out_ns) / self.whole_ns.unwrap_or_else(|| sum(|unit| unit.ns)) - 1.0
    }
}

/// Mean absolute error of held-out predictions, as a share of the times.
pub fn mean_error<'a>(units: impl IntoIterator<Item = &'a UnitFit>) -> f64 {
    mean(units.into_iter().map(|unit| (unit.held_out_ns / unit.ns - 1.0).abs()))
}

/// The mean, 0 of nothing.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    sum / f64::from(count.max(1))
}

/// Costs fitted to all of `networks` and to `others`, and how well each network is predicted
/// without itself.
#[must_use]
pub fn hold_out(
    networks: &[(String, Vec<Sample>)],
    others: &[Sample],
    prior: &[f64],
    ridge: f64,
) -> (Vec<f64>, Vec<NetworkFit>) {
    let fit_without = |left_out: Option<&str>| {
        let kept = networks.iter().filter(|(name, _)| Some(name.as_str()) != left_out);
        let samples = kept.flat_map(|(_, samples)| samples).chain(others);
        fit(&samples.cloned().collect::<Vec<_>>(), prior, ridge)
    };
    let ns_per_unit = fit_without(None);
    let tried = networks.iter().map(|(name, samples)| {
        let held_out = fit_without(Some(name));
        let units = samples.iter().enumerate().map(|(unit, sample)| UnitFit {
            unit,
            ns: sample.ns,
            fitted_ns: predict(&sample.features, &ns_per_unit),
            held_out_ns: predict(&sample.features, &held_out),
        });
        NetworkFit { name: name.clone(), units: units.collect(), whole_ns: None }
    });
    let tried = tried.collect();
    (ns_per_unit, tried)
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
