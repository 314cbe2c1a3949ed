//! Pyth's published aggregation cases, run through the core that prices are made with.
//!
//! The core is [`three_vote`]. What stands before it here is the reference's own admission
//! (`upd_aggregate.h` of pyth-client at 25dd347), stated in [`admitted`]: it takes zero and
//! negative prices, which this program refuses before aggregating, and it rejects no outliers.

mod support;

use std::fs;
use std::path::Path;

use serde::Deserialize;
use trinity_beast::market::aggregate::three_vote;

/// Slots after which the reference no longer uses a quote.
const MAX_LATENCY_SLOTS: i64 = 25;
/// The reference's status number of a trading quote.
const TRADING: u32 = 1;

#[derive(Deserialize)]
struct Case {
    exponent: i32,
    quotes: Vec<PublisherQuote>,
}

#[derive(Deserialize)]
struct PublisherQuote {
    price: i64,
    conf: i64,
    status: u32,
    /// Slot of the quote less the slot of the aggregation: 0 or below.
    #[serde(default)]
    slot_diff: i64,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Expected {
    exponent: i32,
    price: i64,
    conf: u64,
    status: String,
}

fn admitted(quote: &PublisherQuote) -> bool {
    let fits = quote.conf > 0
        && quote.price.checked_sub(quote.conf).is_some()
        && quote.price.checked_add(quote.conf).is_some();
    quote.status == TRADING && fits && -quote.slot_diff <= MAX_LATENCY_SLOTS
}

fn aggregate(case: &Case) -> Expected {
    let mut pool: Vec<i64> = case
        .quotes
        .iter()
        .filter(|quote| admitted(quote))
        .flat_map(|quote| [quote.price - quote.conf, quote.price, quote.price + quote.conf])
        .collect();
    let (price, conf, status) = match three_vote(&mut pool) {
        Some(estimate) => (estimate.price, estimate.confidence, "trading"),
        None => (0, 0, "unknown"),
    };
    Expected {
        exponent: case.exponent,
        price,
        conf,
        status: status.to_owned(),
    }
}

fn run(input: &Path) -> Result<(), String> {
    let expected = input.with_extension("result");
    let read = |path: &Path| fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
    let case: Case = serde_json::from_str(&read(input)?).map_err(|error| error.to_string())?;
    let expected: Expected = serde_json::from_str(&read(&expected)?).map_err(|error| error.to_string())?;
    let found = aggregate(&case);
    if found == expected {
        Ok(())
    } else {
        Err(format!("gave {found:?}, published is {expected:?}"))
    }
}

#[test]
fn every_published_case_gives_the_published_price_and_confidence() {
    let Some(folder) = support::shared_data("pyth-aggregation") else {
        return;
    };
    let mut inputs: Vec<_> = fs::read_dir(&folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("entries can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    inputs.sort();
    let failures: Vec<_> = inputs
        .iter()
        .filter_map(|input| Some(format!("{}: {}", input.display(), run(input).err()?)))
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {} differ:\n{}",
        failures.len(),
        inputs.len(),
        failures.join("\n")
    );
    assert!(
        inputs.len() >= 39,
        "39 cases are published, {} were found in {}",
        inputs.len(),
        folder.display()
    );
}
