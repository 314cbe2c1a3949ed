//! Recordings made for a test.

use std::fmt::Write as _;
use std::path::Path;

/// A normalised recording of 1,000 symbols of its own, all quoted by two venues at once.
pub(crate) fn thousand_symbols(path: &Path) {
    let mut rows = String::new();
    let mut quotes = String::new();
    for i in 0..1_000 {
        writeln!(
            rows,
            "S{i}-USD S{i} USD -8 0.01 2 3600000 7200000 500 500 - - coinbase=S{i}-USD kraken=S{i}/USD"
        )
        .expect("memory takes it");
        for market in [format!("coinbase,S{i}-USD"), format!("kraken,S{i}/USD")] {
            writeln!(quotes, "1678406460000,{market},{}.5,0.1", 100 + i).expect("memory takes it");
        }
    }
    let header = serde_json::json!({
        "format": "trinity-recording", "version": 1, "title": "a thousand symbols", "origin": "made for a test",
        "columns": ["time_ms", "venue", "market", "price", "confidence"], "symbols": rows.lines().collect::<Vec<_>>(),
    });
    std::fs::write(path, format!("{header}\n{quotes}")).expect("written");
}
