//! Logistic regression that learns while it is used.
//!
//! The online Newton step (Hazan, Agarwal, Kale 2007): the sum of the curvatures seen scales each step, so that correlated
//! features are told apart after few examples, and no learning rate has to be chosen.

use super::approx::logistic;

/// `N` weights and what was learnt about how sure they are.
#[derive(Debug)]
pub(super) struct Regression<const N: usize> {
    weights: [f32; N],
    /// Sum of the curvatures; only the part on and above the diagonal is used.
    curvature: [[f32; N]; N],
    gradient: [f32; N],
}

impl<const N: usize> Regression<N> {
    /// Starts at `weights`, which are worth `confidence` (in units of curvature: one even-handed example is 1/4).
    pub(super) fn new(weights: [f32; N], confidence: f32) -> Self {
        let mut curvature = [[0.0; N]; N];
        for (i, row) in curvature.iter_mut().enumerate() {
            row[i] = confidence;
        }
        Regression { weights, curvature, gradient: [0.0; N] }
    }

    pub(super) fn probability(&self, features: &[f32; N]) -> f32 {
        let logit: f32 = self.weights.iter().zip(features).map(|(w, f)| w * f).sum();
        logistic(logit)
    }

    /// Notes one example for the next [`Regression::step`].
    pub(super) fn learn(&mut self, features: &[f32; N], happened: bool) {
        let p = self.probability(features);
        let error = p - f32::from(u8::from(happened));
        let weight = p * (1.0 - p);
        for i in 0..N {
            self.gradient[i] += error * features[i];
            let scaled = weight * features[i];
            for (sum, f) in self.curvature[i][i..].iter_mut().zip(&features[i..]) {
                *sum += scaled * f;
            }
        }
    }

    /// Moves the weights by what was noted.
    pub(super) fn step(&mut self) {
        let gradient = std::mem::replace(&mut self.gradient, [0.0; N]);
        for (w, d) in self.weights.iter_mut().zip(solve(&self.curvature, gradient)) {
            // A step of this length never happens on sane data; without the bound a damaged trace could give NaN for ever.
            if d.is_finite() {
                *w -= d.clamp(-1.0, 1.0);
            }
        }
    }
}

/// Solves a symmetric positive definite system of which the upper triangle is given, by elimination.
fn solve<const N: usize>(matrix: &[[f32; N]; N], mut right: [f32; N]) -> [f32; N] {
    let mut m = *matrix;
    for i in 0..N {
        for row in i + 1..N {
            let factor = m[i][row] / m[i][i];
            let above = m[i];
            for (value, a) in m[row][row..].iter_mut().zip(&above[row..]) {
                *value -= factor * a;
            }
            right[row] -= factor * right[i];
        }
    }
    for i in (0..N).rev() {
        let known: f32 = (i + 1..N).map(|j| m[i][j] * right[j]).sum();
        right[i] = (right[i] - known) / m[i][i];
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_xoshiro::Xoshiro256PlusPlus;
    use rand_xoshiro::rand_core::{RngCore as _, SeedableRng as _};

    #[test]
    fn solves() {
        let x = solve(&[[4.0, 2.0, 1.0], [0.0, 3.0, 0.5], [0.0, 0.0, 2.0]], [11.0, 9.5, 8.0]);
        for (got, want) in x.into_iter().zip([1.0, 2.0, 3.0]) {
            assert!((got - want).abs() < 1e-5, "{x:?}");
        }
    }

    #[test]
    fn finds_the_weights_that_made_the_data() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
        let mut uniform = move || (random.next_u64() >> 40) as f32 / (1u64 << 24) as f32;
        let truth = Regression::new([-1.0, 2.0, 0.0], 1.0);
        let mut model = Regression::new([0.0; 3], 1.0);
        for _ in 0..200 {
            for _ in 0..20 {
                let features = [1.0, 2.0 * uniform() - 1.0, 2.0 * uniform() - 1.0];
                model.learn(&features, uniform() < truth.probability(&features));
            }
            model.step();
        }
        for (got, want) in model.weights.into_iter().zip(truth.weights) {
            assert!((got - want).abs() < 0.2, "{:?}", model.weights);
        }
    }
}
