//! Logistic regression that learns while it is used.
//!
//! The online Newton step (Hazan, Agarwal, Kale 2007): the sum of the curvatures seen scales each step, so that correlated
//! features are told apart after few examples, and no learning rate has to be chosen.

use super::approx::logistic;

/// Examples that are looked at together: twice what the shortest vectors of today's machines hold.
pub(super) const LANES: usize = 8;

/// A number for each example.
pub(super) type Lanes = [f32; LANES];

/// What `f` makes of each number. Unlike `array::map`, which compilers leave as calls, it becomes vectors.
#[inline(always)]
pub(super) fn lanes(of: &Lanes, f: impl Fn(f32) -> f32) -> Lanes {
    let mut out = [0.0; LANES];
    out.iter_mut().zip(of).for_each(|(out, x)| *out = f(*x));
    out
}

/// `N` weights and what was learnt about how sure they are. Rows of curvatures are `ROW` long, with zeros behind `N`: whole
/// vectors.
#[derive(Debug)]
pub(super) struct Regression<const N: usize, const ROW: usize> {
    weights: [f32; N],
    /// Sum of the curvatures, symmetric.
    curvature: [[f32; ROW]; N],
    gradient: [f32; ROW],
}

impl<const N: usize, const ROW: usize> Regression<N, ROW> {
    /// Starts at `weights`, which are worth `confidence` (in units of curvature: one even-handed example is 1/4).
    pub(super) fn new(weights: [f32; N], confidence: f32) -> Self {
        const { assert!(N <= ROW) };
        let mut curvature = [[0.0; ROW]; N];
        for (i, row) in curvature.iter_mut().enumerate() {
            row[i] = confidence;
        }
        Regression { weights, curvature, gradient: [0.0; ROW] }
    }

    /// The probabilities of some examples, by feature.
    #[inline]
    pub(super) fn probabilities(&self, features: &[Lanes; N]) -> Lanes {
        let mut logits = [0.0; LANES];
        for (w, feature) in self.weights.iter().zip(features) {
            logits.iter_mut().zip(feature).for_each(|(logit, f)| *logit += w * f);
        }
        lanes(&logits, logistic)
    }

    /// Notes as many examples as there are outcomes in `happened` for the next [`Regression::step`]; `probabilities` are those
    /// that the present weights give. All sums grow in the order of the examples.
    pub(super) fn learn(&mut self, features: &[Lanes; N], probabilities: &Lanes, happened: &[bool]) {
        let mut examples = [[0.0; ROW]; LANES];
        for (i, feature) in features.iter().enumerate() {
            examples.iter_mut().zip(feature).for_each(|(example, f)| example[i] = *f);
        }
        let weight = lanes(probabilities, |p| p * (1.0 - p));
        for ((example, p), &happened) in examples.iter().zip(probabilities).zip(happened) {
            let error = p - f32::from(u8::from(happened));
            self.gradient.iter_mut().zip(example).for_each(|(sum, f)| *sum += error * f);
        }
        for (curvature, feature) in self.curvature.iter_mut().zip(features) {
            let mut row = *curvature;
            let mut scaled = weight;
            scaled.iter_mut().zip(feature).for_each(|(scaled, f)| *scaled *= f);
            for ((example, scaled), _) in examples.iter().zip(scaled).zip(happened) {
                row.iter_mut().zip(example).for_each(|(sum, f)| *sum += scaled * f);
            }
            *curvature = row;
        }
    }

    /// Moves the weights by what was noted.
    pub(super) fn step(&mut self) {
        let gradient = std::mem::replace(&mut self.gradient, [0.0; ROW]);
        let curvature: [[f32; N]; N] = std::array::from_fn(|i| std::array::from_fn(|j| self.curvature[i][j]));
        let gradient = std::array::from_fn(|i| gradient[i]);
        for (w, d) in self.weights.iter_mut().zip(solve(&curvature, gradient)) {
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
    use proptest::prelude::*;
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
        let truth = Regression::<3, 4>::new([-1.0, 2.0, 0.0], 1.0);
        let mut model = Regression::<3, 4>::new([0.0; 3], 1.0);
        for _ in 0..200 {
            for _ in 0..3 {
                let features = [
                    [1.0; LANES],
                    [(); LANES].map(|()| 2.0 * uniform() - 1.0),
                    [(); LANES].map(|()| 2.0 * uniform() - 1.0),
                ];
                let happened = truth.probabilities(&features).map(|p| uniform() < p);
                model.learn(&features, &model.probabilities(&features), &happened);
            }
            model.step();
        }
        for (got, want) in model.weights.into_iter().zip(truth.weights) {
            assert!((got - want).abs() < 0.2, "{:?}", model.weights);
        }
    }

    /// Example by example, as the formulas are written down.
    struct Naive {
        weights: [f32; 3],
        curvature: [[f32; 3]; 3],
        gradient: [f32; 3],
    }

    impl Naive {
        fn probability(&self, features: [f32; 3]) -> f32 {
            let [a, b, c] = std::array::from_fn(|i| self.weights[i] * features[i]);
            logistic(0.0 + a + b + c)
        }

        fn learn(&mut self, features: [f32; 3], happened: bool) {
            let p = self.probability(features);
            for i in 0..3 {
                self.gradient[i] += (p - f32::from(u8::from(happened))) * features[i];
                for j in 0..3 {
                    self.curvature[i][j] += p * (1.0 - p) * features[i] * features[j];
                }
            }
        }
    }

    proptest! {
        #[test]
        fn examples_taken_together_give_the_bits_of_one_after_the_other(
            seen in prop::collection::vec(([-3f32..3.0, -3f32..3.0, -3f32..3.0], any::<bool>()), 1..40),
        ) {
            let weights = [-0.4, 0.7, 0.2];
            let mut model = Regression::<3, 4>::new(weights, 0.0);
            let mut naive = Naive { weights, curvature: [[0.0; 3]; 3], gradient: [0.0; 3] };
            for some in seen.chunks(LANES) {
                let features: [Lanes; 3] =
                    std::array::from_fn(|i| std::array::from_fn(|lane| some.get(lane).map_or(9.0, |(f, _)| f[i])));
                let happened: Vec<bool> = some.iter().map(|(_, happened)| *happened).collect();
                let probabilities = model.probabilities(&features);
                for ((features, _), p) in some.iter().zip(probabilities) {
                    prop_assert_eq!(naive.probability(*features).to_bits(), p.to_bits());
                }
                model.learn(&features, &probabilities, &happened);
                some.iter().for_each(|(features, happened)| naive.learn(*features, *happened));
            }
            for i in 0..3 {
                prop_assert_eq!(naive.gradient[i].to_bits(), model.gradient[i].to_bits());
                for j in i..3 {
                    prop_assert_eq!(naive.curvature[i][j].to_bits(), model.curvature[i][j].to_bits());
                }
            }
        }
    }
}
