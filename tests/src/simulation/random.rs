//! Randomness that repeats, and Zipf's law.

/// SplitMix64.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to 1, without 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Exponentially distributed, 1 on average: between two events of a Poisson
    /// process.
    pub(super) fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    pub(super) fn below(&mut self, limit: u32) -> u32 {
        (((self.next() >> 32) * u64::from(limit)) >> 32) as u32
    }

    /// How often a coin shows heads in a row.
    pub(super) fn zeros(&mut self) -> u32 {
        self.next().leading_zeros()
    }

    pub(super) fn below_u64(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}

/// Draws numbers from 0 on; the n-th is drawn as often as 1/n^skew says. Walker's
/// alias method: one look per draw, however many there are.
pub(super) struct Zipf {
    /// By column: how much of it is its own, and whose the rest is.
    columns: Vec<(f32, u32)>,
}

impl Zipf {
    pub(super) fn new(count: u32, skew: f64) -> Self {
        let weight = |rank: u32| (f64::from(rank) + 1.0).powf(-skew);
        let sum: f64 = (0..count).map(weight).sum();
        let mut shares: Vec<f64> = (0..count)
            .map(|rank| weight(rank) / sum * f64::from(count))
            .collect();
        let (mut poor, mut rich): (Vec<u32>, Vec<u32>) =
            (0..count).partition(|rank| shares[*rank as usize] < 1.0);
        let mut columns: Vec<_> = (0..count).map(|rank| (1.0, rank)).collect();
        while let (Some(small), Some(large)) = (poor.pop(), rich.last().copied()) {
            columns[small as usize] = (shares[small as usize] as f32, large);
            shares[large as usize] -= 1.0 - shares[small as usize];
            if shares[large as usize] < 1.0 {
                rich.pop();
                poor.push(large);
            }
        }
        Self { columns }
    }

    pub(super) fn sample(&self, random: &mut Random) -> u32 {
        let column = random.below(self.columns.len() as u32);
        let (own, other) = self.columns[column as usize];
        if random.unit() < f64::from(own) {
            column
        } else {
            other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_law_holds() {
        let (zipf, mut random) = (Zipf::new(1_000, 1.0), Random::new(7));
        let mut drawn = vec![0_u32; 1_000];
        for _ in 0..1_000_000 {
            drawn[zipf.sample(&mut random) as usize] += 1;
        }
        let harmonic: f64 = (1..=1_000).map(|n| 1.0 / f64::from(n)).sum();
        for rank in [1_u32, 2, 10, 100] {
            let expected = 1_000_000.0 / harmonic / f64::from(rank);
            let found = f64::from(drawn[rank as usize - 1]);
            assert!((found / expected - 1.0).abs() < 0.1, "{rank}: {found}");
        }
    }

    #[test]
    fn events_come_as_often_as_they_should() {
        let mut random = Random::new(7);
        let sum: f64 = (0..100_000).map(|_| random.exponential()).sum();
        assert!((sum / 100_000.0 - 1.0).abs() < 0.02, "{sum}");
    }
}
