//! Small numbers that several parts of the search need. Knows nothing of trees.

/// The mean; `None` of nothing.
pub(crate) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The sample variance, with one degree of freedom less; `None` of fewer than two.
pub(crate) fn variance(values: &[f64]) -> Option<f64> {
    let centre = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|value| (value - centre).powi(2)).sum();
    Some(squares / (values.len() - 1) as f64)
}

/// `⌈share · whole⌉` for a share from 0 to 1.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and `whole`")]
pub(crate) fn share_of(whole: usize, share: f64) -> usize {
    (whole as f64 * share).ceil() as usize
}

/// Density of the standard normal distribution.
fn normal_density(z: f64) -> f64 {
    (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// Distribution function of the standard normal distribution, to 1.5e-7 (Abramowitz & Stegun, 1964, formula 7.1.26).
pub(crate) fn normal_below(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let coefficients = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let polynomial = coefficients.iter().fold(0.0, |sum, coefficient| (sum + coefficient) * t);
    let erf = 1.0 - polynomial * (-x * x).exp();
    0.5 * (1.0 + if z < 0.0 { -erf } else { erf })
}

/// What a value of this mean and spread is expected to be above `best`, counting nothing where it is below (expected
/// improvement; Jones et al., 1998).
pub(crate) fn expected_improvement(mean: f64, sd: f64, best: f64) -> f64 {
    let gap = mean - best;
    if sd <= 0.0 {
        return gap.max(0.0);
    }
    let z = gap / sd;
    (gap * normal_below(z) + sd * normal_density(z)).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    }

    #[test]
    fn normal_numbers_are_those_of_the_tables() {
        check(normal_below(0.0), 0.5);
        check(normal_below(1.959_964), 0.975);
        check(normal_below(-1.644_854), 0.05);
        // scipy: norm.pdf(0) and 0.5 * norm.cdf(0.5) + norm.pdf(0.5).
        check(expected_improvement(0.0, 1.0, 0.0), 0.398_942_3);
        check(expected_improvement(0.5, 1.0, 0.0), 0.697_796_6);
        check(expected_improvement(0.2, 0.0, 0.5), 0.0);
    }

    #[test]
    fn spreads_need_two_values() {
        assert_eq!((mean(&[]), variance(&[1.0])), (None, None));
        check(variance(&[1.0, 2.0, 4.0]).unwrap(), 7.0 / 3.0);
    }
}
