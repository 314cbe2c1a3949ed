//! What was asked, what came back, and whether it was right.

use std::collections::BTreeMap;

use serde::Serialize;

use super::price::Price;
use super::response::{Malformed, Response};
use crate::population;

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Asset {
    /// As the request spells it; needs no escaping in a URL or JSON.
    pub(crate) name: String,
    /// Its position among the symbols of [`population`], whose prices are known.
    pub(crate) symbol: Option<usize>,
}

/// Everything that was sent and came back, warm-up included: it must add up.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Tally {
    /// Requests sent.
    pub(crate) sent: u64,
    /// Answers that were right in every way.
    pub(crate) verified: u64,
    /// Requests without an answer: their connection broke, or it did not come in time.
    pub(crate) lost: u64,
    /// Answers that nobody asked for.
    pub(crate) duplicates: u64,
    /// Requests that were due at the end but not sent, as every connection was waiting.
    pub(crate) unsent: u64,
    /// Connections that ended before they should.
    pub(crate) broken: u64,
    /// Streams that are no HTTP, by what is wrong.
    pub(crate) malformed: BTreeMap<String, u64>,
    /// Answers of status 200 that are no right price, by what is wrong.
    pub(crate) wrong: BTreeMap<&'static str, u64>,
    /// Prices older than one seen before on the same connection.
    pub(crate) sequence_back: u64,
    /// Answers with another status than 200.
    pub(crate) errors: BTreeMap<u16, u64>,
}

/// A full JSON parser looks at one in so many answers.
const SAMPLE: u64 = 256;

impl Tally {
    pub(crate) fn malformed(&mut self, why: Malformed) {
        *self.malformed.entry(why.to_string()).or_default() += 1;
    }

    /// Whether the answer is the asset's price and no older than the newest one seen; counts what
    /// is wrong.
    pub(crate) fn judge(&mut self, response: &Response<'_>, asset: &Asset, newest: &mut u32) -> bool {
        if response.status != 200 {
            *self.errors.entry(response.status).or_default() += 1;
            return false;
        }
        let looks_closer = self.verified.is_multiple_of(SAMPLE);
        match check(response.body, asset, looks_closer) {
            Err(why) => {
                *self.wrong.entry(why).or_default() += 1;
                false
            }
            Ok(sequence) if sequence < *newest => {
                self.sequence_back += 1;
                false
            }
            Ok(sequence) => {
                *newest = sequence;
                self.verified += 1;
                true
            }
        }
    }

    /// Adds another run's.
    pub(crate) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.verified += other.verified;
        self.lost += other.lost;
        self.duplicates += other.duplicates;
        self.unsent += other.unsent;
        self.broken += other.broken;
        self.sequence_back += other.sequence_back;
        for (what, count) in &other.malformed {
            *self.malformed.entry(what.clone()).or_default() += count;
        }
        for (what, count) in &other.wrong {
            *self.wrong.entry(what).or_default() += count;
        }
        for (status, count) in &other.errors {
            *self.errors.entry(*status).or_default() += count;
        }
    }

    /// What is wrong, in words; nothing if every answer was right.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (count, what) in [
            (self.lost, "requests without an answer"),
            (self.duplicates, "answers that nobody asked for"),
            (self.broken, "connections that broke"),
            (self.sequence_back, "prices older than one seen before"),
        ] {
            if count > 0 {
                faults.push(format!("{count} {what}"));
            }
        }
        if self.verified == 0 {
            faults.push("no request was answered".into());
        }
        faults.extend(
            self.malformed
                .iter()
                .map(|(what, n)| format!("{n} malformed streams: {what}")),
        );
        faults.extend(
            self.wrong
                .iter()
                .map(|(what, n)| format!("{n} wrong answers: {what}")),
        );
        faults.extend(
            self.errors
                .iter()
                .map(|(status, n)| format!("{n} answers with status {status}")),
        );
        faults
    }
}

/// The sequence of a body that is the asset's price.
fn check(body: &[u8], asset: &Asset, looks_closer: bool) -> Result<u32, &'static str> {
    let price = Price::parse(body).map_err(|why| why.0)?;
    if price.asset != asset.name.as_bytes() {
        return Err("another asset's price");
    }
    if let Some(symbol) = asset.symbol {
        let right = population::record(symbol, price.sequence, 0);
        let known = (right.mantissa, right.confidence, right.exponent);
        if price.status != b"LIVE" || (price.mantissa, price.confidence, price.exponent) != known {
            return Err("not the symbol's live price");
        }
    }
    if looks_closer {
        let json: serde_json::Value = serde_json::from_slice(body).map_err(|_| "the body is no JSON")?;
        let agrees = json["asset"] == asset.name && json["sequence"] == price.sequence;
        if !agrees || json["mantissa"] != price.mantissa {
            return Err("a JSON parser reads something else");
        }
    }
    Ok(price.sequence)
}

#[cfg(test)]
mod tests {
    use trinity_protocol::DecimalText;

    use super::*;

    fn body(symbol: usize, sequence: u32) -> String {
        let record = population::record(symbol, sequence, 0);
        let decimal = DecimalText {
            mantissa: record.mantissa,
            exponent: record.exponent,
        };
        format!(
            r#"{{"asset":"S{symbol}-USD","price":{decimal},"price_text":"{decimal}","mantissa":{},"confidence":{},"exponent":{},"status":"LIVE","sequence":{sequence}}}"#,
            record.mantissa, record.confidence, record.exponent
        )
    }

    #[test]
    fn an_answer_is_judged_by_its_status_its_asset_its_price_and_its_sequence() {
        let asset = Asset {
            name: "S7-USD".into(),
            symbol: Some(7),
        };
        let (mut tally, mut newest) = (Tally::default(), 0);
        let mut judge = |status, body: &str| {
            let response = Response {
                status,
                closes: false,
                body: body.as_bytes(),
            };
            tally.judge(&response, &asset, &mut newest)
        };
        assert!(judge(200, &body(7, 5)));
        assert!(judge(200, &body(7, 5)));
        assert!(!judge(200, &body(7, 4)), "older");
        assert!(!judge(429, &body(7, 6)));
        assert!(!judge(200, &body(8, 6)), "another asset");
        assert!(!judge(200, &body(8, 6).replace("S8", "S7")), "another's price");
        assert!(!judge(200, &body(7, 6).replace("LIVE", "STALE")));
        assert!(judge(200, &body(7, 6)));
        assert_eq!((tally.verified, tally.sequence_back), (3, 1));
        assert_eq!(tally.errors[&429], 1);
        assert_eq!(tally.wrong.values().sum::<u64>(), 3);
        assert_eq!(tally.faults().len(), 4, "{:?}", tally.faults());
    }
}
