//! The least of a function of a few numbers, after Nelder and Mead (1965).

/// Searches from `start` with first steps of `step` in each direction; returns the best place and its value.
///
/// It begins again around the best place whenever the simplex has shrunk, until `evaluations` are used up or a new
/// beginning gains nothing.
pub(super) fn minimize(
    start: &[f64],
    step: f64,
    evaluations: usize,
    mut f: impl FnMut(&[f64]) -> f64,
) -> (Vec<f64>, f64) {
    let mut best = (start.to_vec(), f(start));
    let mut left = evaluations.saturating_sub(1);
    let mut step = step;
    while left > start.len() {
        let found = descend(&best, step, &mut left, &mut f);
        let gained = best.1 - found.1;
        best = found;
        if gained < 1e-4 {
            break;
        }
        step = -step / 2.0;
    }
    best
}

fn descend(start: &(Vec<f64>, f64), step: f64, left: &mut usize, f: &mut impl FnMut(&[f64]) -> f64) -> (Vec<f64>, f64) {
    let n = start.0.len();
    let mut evaluate = |x: Vec<f64>, left: &mut usize| {
        *left = left.saturating_sub(1);
        let value = f(&x);
        (x, value)
    };
    let mut simplex = vec![start.clone()];
    for i in 0..n {
        let mut x = start.0.clone();
        x[i] += step;
        simplex.push(evaluate(x, left));
    }
    loop {
        simplex.sort_by(|a, b| a.1.total_cmp(&b.1));
        if *left < n + 2 || simplex[n].1 - simplex[0].1 < 3e-5 {
            return simplex.swap_remove(0);
        }
        let center: Vec<f64> = (0..n).map(|i| simplex[..n].iter().map(|p| p.0[i]).sum::<f64>() / n as f64).collect();
        let along = |t: f64, worst: &[f64]| center.iter().zip(worst).map(|(c, w)| c + t * (c - w)).collect::<Vec<_>>();
        let reflected = evaluate(along(1.0, &simplex[n].0), left);
        if reflected.1 < simplex[0].1 {
            let expanded = evaluate(along(2.0, &simplex[n].0), left);
            simplex[n] = if expanded.1 < reflected.1 { expanded } else { reflected };
        } else if reflected.1 < simplex[n - 1].1 {
            simplex[n] = reflected;
        } else {
            let t = if reflected.1 < simplex[n].1 { 0.5 } else { -0.5 };
            let contracted = evaluate(along(t, &simplex[n].0), left);
            if contracted.1 < simplex[n].1.min(reflected.1) {
                simplex[n] = contracted;
            } else {
                for i in 1..=n {
                    let x = simplex[i].0.iter().zip(&simplex[0].0).map(|(x, b)| (x + b) / 2.0).collect();
                    simplex[i] = evaluate(x, left);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_bottom_of_a_bent_valley() {
        let valley = |x: &[f64]| (1.0 - x[0]) * (1.0 - x[0]) + 100.0 * (x[1] - x[0] * x[0]) * (x[1] - x[0] * x[0]);
        let (x, value) = minimize(&[-1.2, 1.0], 0.5, 2000, valley);
        assert!(value < 1e-4 && (x[0] - 1.0).abs() < 0.02 && (x[1] - 1.0).abs() < 0.04, "{x:?} {value}");
    }

    #[test]
    fn keeps_to_its_evaluations() {
        let mut count = 0;
        minimize(&[3.0, 4.0, 5.0], 0.1, 50, |x| {
            count += 1;
            x.iter().map(|v| v.abs()).sum()
        });
        assert!(count <= 55, "{count}");
    }
}
