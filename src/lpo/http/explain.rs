//! `GET /price/{symbol}/explain`: what only the market can answer, in two steps.

use bytes::Bytes;

use super::price::Quoted;
use super::problem::Problem;
use super::query::decode_path;
use super::{Answer, Answerer, Head, Proven, REFUSED, Step, json_response, limit_headers, unknown};
use crate::tables::limiter::Allowance;
use crate::tables::prices::SymbolIndex;

/// A question that only the market can answer.
#[derive(Clone, Copy, Debug)]
pub struct ExplainQuery {
    /// The symbol whose price is to be explained.
    pub symbol: SymbolIndex,
    proven: Proven,
    allowance: Allowance,
}

impl Answerer<'_> {
    pub(super) fn explain(&mut self, head: Head<'_>, encoded: &str) -> Step {
        let key = match self.caller(head) {
            Ok(key) => key,
            Err(refusal) => return *refusal,
        };
        let arrived_ns = head.arrived_ns;
        if head.query.is_some_and(|query| !query.is_empty()) {
            let detail = "An explanation takes no query: name the symbol in the path.";
            return Step::Answered(self.refuse(key, arrived_ns, Problem::BadQuery, detail, None));
        }
        let Some(asset) = decode_path(encoded) else {
            let detail = "The symbol in the path is not UTF-8, percent-encoded: write BTC/USD as BTC%2FUSD.";
            return Step::Answered(self.refuse(key, arrived_ns, Problem::NotFound, detail, None));
        };
        let now_ns = (self.clock)();
        let allowance = match self.admit(key, arrived_ns, now_ns) {
            Ok(allowance) => allowance,
            Err(refusal) => return Step::Answered(*refusal),
        };
        let quoted = Quoted::look_up(&asset, self.prices, 0, now_ns);
        let Some((symbol, _)) = quoted.symbol else {
            let response = unknown(&asset);
            return Step::Answered(self.charge(key, arrived_ns, allowance, &[quoted], response));
        };
        Step::Explain(ExplainQuery {
            symbol,
            proven: Proven {
                key_id: key.key_id,
                arrived_ns,
            },
            allowance,
        })
    }

    /// Answers with what the market explained, a JSON text; None if it did not in time.
    pub fn finish_explain(&mut self, query: ExplainQuery, explanation: Option<Bytes>) -> Answer {
        let Proven { key_id, arrived_ns } = query.proven;
        let now_ns = (self.clock)();
        let Some(key) = self.keys.find(key_id).filter(|key| key.is_usable(now_ns)) else {
            return self.strange(arrived_ns, Problem::RefusedKey, REFUSED);
        };
        let name = self.prices.names().name(query.symbol);
        let (Some(explanation), Some(name)) = (explanation, name) else {
            let detail = "The market is busy or starting anew; ask again in a second.";
            let mut answer = self.refuse(key, arrived_ns, Problem::Unexplained, detail, None);
            limit_headers::insert_retry_after(answer.response.headers_mut(), 1_000);
            return answer;
        };
        let quoted = Quoted::look_up(name.as_str(), self.prices, 0, now_ns);
        let response = json_response(explanation, "no-store");
        self.charge(key, arrived_ns, query.allowance, &[quoted], response)
    }
}
