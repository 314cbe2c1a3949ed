//! Which symbols are asked for, and how often.

use serde::Serialize;

use crate::population::Draw;

/// How often each symbol is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Popularity {
    /// All equally often.
    Uniform,
    /// The n-th most popular one n^-s times as often as the first (Zipf's law).
    Zipf {
        /// Exponent, above 0; 1 is the law as Zipf stated it.
        s: f64,
    },
}

/// Draws symbols by their popularity, in constant time and with one random number: Walker's
/// alias method, built as M. D. Vose does ("A linear algorithm for generating random numbers
/// with a given distribution", 1991).
#[derive(Debug)]
pub(crate) struct Sampler {
    symbols: usize,
    /// Empty if all are equally likely.
    columns: Vec<Column>,
}

#[derive(Clone, Copy, Debug)]
struct Column {
    /// Of 2^32 draws of this column, how many stay with its own symbol.
    stays: u64,
    /// What the others give.
    alias: u32,
}

impl Sampler {
    /// For so many symbols, at least one.
    pub(crate) fn new(popularity: Popularity, symbols: usize) -> Self {
        let columns = match popularity {
            Popularity::Uniform => Vec::new(),
            Popularity::Zipf { s } => {
                columns(&(1..=symbols).map(|n| (n as f64).powf(-s)).collect::<Vec<_>>())
            }
        };
        Self { symbols, columns }
    }

    /// The next symbol, below their number.
    #[inline]
    pub(crate) fn draw(&self, draw: &mut Draw) -> usize {
        if self.columns.is_empty() {
            return draw.below(self.symbols);
        }
        let bits = draw.bits();
        let column = (((bits >> 32) * self.symbols as u64) >> 32) as usize;
        let Column { stays, alias } = self.columns[column];
        // xorshift's low half is as good as its high one for this use: the test says so.
        if bits & u64::from(u32::MAX) < stays {
            column
        } else {
            alias as usize
        }
    }
}

fn columns(weights: &[f64]) -> Vec<Column> {
    const WHOLE: f64 = (1_u64 << 32) as f64;
    let mean = weights.iter().sum::<f64>() / weights.len() as f64;
    let mut left: Vec<_> = weights.iter().map(|weight| weight / mean).collect();
    // Whatever rounding leaves over stays with its own symbol.
    let mut columns: Vec<_> = (0..weights.len() as u32)
        .map(|alias| Column {
            stays: 1 << 32,
            alias,
        })
        .collect();
    let (mut small, mut large): (Vec<_>, Vec<_>) = (0..weights.len()).partition(|i| left[*i] < 1.0);
    while let (Some(poor), Some(rich)) = (small.pop(), large.last().copied()) {
        columns[poor] = Column {
            stays: (left[poor] * WHOLE) as u64,
            alias: rich as u32,
        };
        left[rich] -= 1.0 - left[poor];
        if left[rich] < 1.0 {
            large.pop();
            small.push(rich);
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYMBOLS: usize = 50;
    const DRAWS: usize = 200_000;
    /// Of 49 degrees of freedom, exceeded once in a million draws of the right law.
    const CHI_SQUARE: f64 = 112.0;

    fn chi_square(sampler: &Sampler, law: impl Fn(usize) -> f64) -> f64 {
        let mut draw = Draw::seeded(0x5EED);
        let mut seen = [0_u32; SYMBOLS];
        for _ in 0..DRAWS {
            seen[sampler.draw(&mut draw)] += 1;
        }
        let whole: f64 = (0..SYMBOLS).map(&law).sum();
        let expected = |i| law(i) / whole * DRAWS as f64;
        (0..SYMBOLS)
            .map(|i| (f64::from(seen[i]) - expected(i)).powi(2) / expected(i))
            .sum()
    }

    #[test]
    fn symbols_are_drawn_by_zipfs_law() {
        for s in [0.5, 1.0, 1.2] {
            let sampler = Sampler::new(Popularity::Zipf { s }, SYMBOLS);
            let distance = chi_square(&sampler, |i| ((i + 1) as f64).powf(-s));
            assert!(distance < CHI_SQUARE, "s = {s}: {distance}");
            let distance = chi_square(&sampler, |i| ((i + 1) as f64).powf(-s - 0.1));
            assert!(
                distance > CHI_SQUARE,
                "another exponent fits s = {s} as well: {distance}"
            );
        }
    }

    #[test]
    fn symbols_are_drawn_equally_often_unless_a_law_is_given() {
        let sampler = Sampler::new(Popularity::Uniform, SYMBOLS);
        assert!(chi_square(&sampler, |_| 1.0) < CHI_SQUARE);
    }

    #[test]
    fn one_symbol_is_always_drawn() {
        let mut draw = Draw::seeded(1);
        for popularity in [Popularity::Uniform, Popularity::Zipf { s: 1.0 }] {
            let sampler = Sampler::new(popularity, 1);
            assert!((0..100).all(|_| sampler.draw(&mut draw) == 0));
        }
    }
}
