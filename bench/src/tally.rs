//! What was sent, what came back, and whether it was right.

use serde::Serialize;
use trinity_protocol::{Code, Kind, MacKey, ReplyView};

use crate::population::is_right;

/// Everything that was sent and came back, warm-up included: it must add up.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Tally {
    /// Requests that the kernel took.
    pub(crate) sent: u64,
    /// Datagrams that came back.
    pub(crate) answered: u64,
    /// Replies that were right in every way.
    pub(crate) verified: u64,
    /// Requests without a reply in time.
    pub(crate) lost: u64,
    /// Replies to requests given up as lost.
    pub(crate) late: u64,
    /// Replies that nobody asked for, or that came twice.
    pub(crate) unexpected: u64,
    /// Datagrams that are no reply.
    pub(crate) malformed: u64,
    /// Replies whose tag is not the key's.
    pub(crate) bad_tags: u64,
    /// Signed prices that are not the symbol's.
    pub(crate) bad_prices: u64,
    /// Signed prices older than one seen before.
    pub(crate) sequence_back: u64,
    /// Replies with a code other than OK, in wire order.
    pub(crate) codes: [u64; Code::ALL.len()],
}

impl Tally {
    /// Whether the reply is a live price of the symbol, signed by the key and no older than
    /// the newest one seen; counts what is wrong.
    pub(crate) fn judge(
        &mut self,
        view: &ReplyView<'_>,
        key: &MacKey,
        symbol: usize,
        newest: &mut u32,
    ) -> bool {
        let code = view.head().code;
        if !view.verify(key) {
            if view.is_unsigned() && code != Code::Ok {
                self.codes[code as usize] += 1;
            } else {
                self.bad_tags += 1;
            }
            return false;
        }
        if code != Code::Ok {
            self.codes[code as usize] += 1;
            return false;
        }
        match view.entries() {
            [entry] if view.kind() == Kind::PriceReply && is_right(symbol, entry) => {
                let sequence = entry.sequence.get();
                let goes_back = sequence < *newest;
                self.sequence_back += u64::from(goes_back);
                *newest = sequence.max(*newest);
                !goes_back
            }
            _ => {
                self.bad_prices += 1;
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use trinity_protocol::RequestId;

    use super::*;
    use crate::population::{self, Population};

    #[test]
    fn a_price_is_judged_by_its_key_its_symbol_and_its_sequence() {
        let population = Population::new(2, 2).expect("drawn");
        let reply = |code, symbol, sequence, key: usize| {
            let head = trinity_protocol::ReplyHead {
                code,
                remaining: 1,
                refill_ms: 0,
                request_id: RequestId::new(1, 1),
                clock_ns: 1,
            };
            let mut buffer = [0; trinity_protocol::MAX_DATAGRAM];
            let mac = &population.keys[key].mac.reply;
            if code == Code::Ok {
                let entry = population::record(symbol, sequence, 5).entry_at(5, 0);
                trinity_protocol::encode_price_reply(&mut buffer, head, &[entry], mac).to_vec()
            } else {
                trinity_protocol::encode_control_reply(&mut buffer, Kind::Error, head, Some(mac)).to_vec()
            }
        };
        let (mut tally, mut newest) = (Tally::default(), 0);
        let mut judge = |datagram: &[u8]| {
            let view = ReplyView::parse(datagram).expect("well-formed");
            tally.judge(&view, &population.keys[0].mac.reply, 0, &mut newest)
        };
        assert!(judge(&reply(Code::Ok, 0, 7, 0)));
        assert!(!judge(&reply(Code::Ok, 0, 6, 0)), "older than the one before");
        assert!(!judge(&reply(Code::Ok, 1, 8, 0)), "another symbol's");
        assert!(!judge(&reply(Code::Ok, 0, 8, 1)), "another key's");
        assert!(!judge(&reply(Code::RateLimited, 0, 8, 0)), "an error");
        assert_eq!((tally.sequence_back, tally.bad_prices, tally.bad_tags), (1, 1, 1));
        assert_eq!(tally.codes[Code::RateLimited as usize], 1);
    }
}
