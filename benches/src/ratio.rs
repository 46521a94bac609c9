//! Figures and how they are printed.

use std::time::Duration;

/// Paired runs of two contenders, in turn, so that what the machine does meanwhile hits both.
pub struct Pairs {
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

impl Pairs {
    /// From the seconds each run took.
    pub fn new() -> Self {
        Self { ours: Vec::new(), theirs: Vec::new() }
    }

    /// Adds a pair.
    pub fn push(&mut self, ours: Duration, theirs: Duration) {
        self.ours.push(ours.as_secs_f64());
        self.theirs.push(theirs.as_secs_f64());
    }

    /// Median seconds of ours and theirs.
    pub fn medians(&self) -> (f64, f64) {
        (median(&self.ours), median(&self.theirs))
    }

    /// How fast ours is as a share of theirs: the median of the pairs, and the quarter and three-quarter pair.
    pub fn speed(&self) -> (f64, f64, f64) {
        let ratios: Vec<f64> = self.ours.iter().zip(&self.theirs).map(|(ours, theirs)| theirs / ours).collect();
        (median(&ratios), quantile(&ratios, 0.25), quantile(&ratios, 0.75))
    }
}

/// The middle of some figures.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The figure below which a share of them lies.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index below the length")]
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = ((sorted.len().saturating_sub(1)) as f64 * share).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}
