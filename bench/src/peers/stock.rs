//! What the caches hold: a price entry's worth of bytes for every symbol.

use crate::population::{self, Draw};

/// Keys and their values.
#[derive(Debug)]
pub(crate) struct Stock(Vec<(String, String)>);

/// Groups of keys that take turns.
const GROUPS: usize = 512;

impl Stock {
    /// Prices of that many symbols: 32 bytes each, as many as a price entry of the protocol has,
    /// and no two alike.
    pub(crate) fn new(symbols: usize) -> Self {
        let entry = |symbol| {
            let price = population::record(symbol, 1, 1);
            let value = format!("{:016x}{:016x}", price.mantissa, price.confidence);
            (format!("price:S{symbol}-USD"), value)
        };
        Self((0..symbols).map(entry).collect())
    }

    pub(crate) fn entries(&self) -> &[(String, String)] {
        &self.0
    }

    /// Groups of that many random keys.
    pub(crate) fn groups(&self, keys: usize) -> Vec<Vec<&(String, String)>> {
        let mut draw = Draw::new();
        (0..GROUPS)
            .map(|_| (0..keys).map(|_| &self.0[draw.below(self.0.len())]).collect())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_value_is_as_long_as_a_price_entry_and_no_two_are_alike() {
        let stock = Stock::new(100);
        let values: BTreeSet<_> = stock.entries().iter().map(|(_, value)| value).collect();
        assert_eq!(values.len(), 100);
        assert!(
            values
                .iter()
                .all(|value| value.len() == size_of::<trinity_protocol::PriceEntry>())
        );
        assert!(stock.groups(30).iter().all(|group| group.len() == 30));
    }
}
