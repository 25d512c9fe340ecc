use std::time::Duration;

/// Counts delays in bins of equal width, to see whether a crowd stays together.
#[derive(Clone, Debug)]
pub struct Histogram {
    width: Duration,
    bins: Vec<usize>,
}

// === impl Histogram ===

impl Histogram {
    /// `delays` in bins of `width`, from the earliest bin that holds one to the latest.
    ///
    /// # Panics
    ///
    /// When `width` is zero or there are no delays.
    #[must_use]
    pub fn new(width: Duration, delays: impl IntoIterator<Item = Duration>) -> Self {
        let bin =
            |delay: Duration| usize::try_from(delay.as_nanos() / width.as_nanos()).expect("a delay within reason");
        let places: Vec<_> = delays.into_iter().map(bin).collect();
        let (Some(first), Some(last)) = (places.iter().min(), places.iter().max()) else {
            panic!("no delays to count");
        };
        let mut bins = vec![0; last - first + 1];
        places.iter().for_each(|place| bins[place - first] += 1);
        Self { width, bins }
    }

    /// How many delays fell into each bin.
    #[must_use]
    pub fn bins(&self) -> &[usize] {
        &self.bins
    }

    /// How many times the mean the fullest bin holds: 1.0 is an even spread, the number of bins is one crowd.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of a test are far below 2^52")]
    pub fn peak_to_mean(&self) -> f64 {
        let total: usize = self.bins.iter().sum();
        let peak = self.bins.iter().max().copied().unwrap_or_default();
        peak as f64 * self.bins.len() as f64 / total as f64
    }

    /// From the earliest bin to the end of the latest.
    #[must_use]
    pub fn span(&self) -> Duration {
        self.width * u32::try_from(self.bins.len()).expect("bins within reason")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_and_a_spread_are_told_apart() {
        let ms = Duration::from_millis;
        let even = Histogram::new(ms(100), (0..1000).map(ms));
        assert_eq!(even.bins(), [100; 10]);
        assert!((even.peak_to_mean() - 1.0).abs() < 1e-9);
        assert_eq!(even.span(), ms(1000));

        let crowd = Histogram::new(ms(100), (0..10).map(|n| if n == 0 { ms(900) } else { ms(5) }));
        assert!(crowd.peak_to_mean() > 8.0);
    }
}
