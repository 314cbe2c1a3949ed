//! What clients saw answered, and whether the ledger says the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use trinity_beast::store::{Protocol, UsageSum};
use trinity_protocol::KeyId;

/// What the clients of one test counted.
#[derive(Debug, Default)]
pub(crate) struct Books {
    accounts: BTreeMap<KeyId, Account>,
    /// What no reply may be: wrong tags, replies that nobody waits for, and so on.
    pub(crate) faults: Vec<String>,
}

/// Of one key.
#[derive(Debug, Default)]
struct Account {
    answered: BTreeMap<Place, u64>,
    /// Prices in the replies with code OK.
    entries: u64,
    lost: BTreeMap<Protocol, Lost>,
}

/// Requests that were sent and never answered, and the prices they asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Lost {
    requests: u64,
    entries: u64,
}

/// Where a reply is counted: how it came, its code, and the second of the server's clock that it
/// bears. HTTP replies bear none.
type Place = (Protocol, u16, Option<u64>);

/// What the ledger says.
#[derive(Debug, Default)]
pub(crate) struct Ledgered {
    /// By second.
    pub(crate) requests: Vec<UsageSum>,
    /// By key, from the symbol rows.
    pub(crate) entries: BTreeMap<KeyId, u64>,
}

/// How the two compare.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Replies with code OK that were verified.
    pub(crate) answered: u64,
    /// Requests that the ledger bills.
    pub(crate) billed: u64,
    /// Replies with other codes that were verified, and what the ledger has of them.
    pub(crate) refused: u64,
    pub(crate) metered: u64,
    /// Prices in replies, and in the ledger.
    pub(crate) entries: u64,
    pub(crate) billed_entries: u64,
    /// Requests that were sent and never answered.
    pub(crate) lost: u64,
    /// What is not as it must be.
    pub(crate) differences: Vec<String>,
}

impl Books {
    /// A verified reply with its number of prices.
    pub(crate) fn answered(
        &mut self,
        key: KeyId,
        protocol: Protocol,
        outcome: u16,
        second: Option<u64>,
        entries: u64,
    ) {
        let account = self.accounts.entry(key).or_default();
        *account.answered.entry((protocol, outcome, second)).or_default() += 1;
        account.entries += entries;
    }

    /// Requests that stayed without an answer.
    pub(crate) fn lost(&mut self, key: KeyId, protocol: Protocol, requests: u64, entries_each: u64) {
        let lost = self
            .accounts
            .entry(key)
            .or_default()
            .lost
            .entry(protocol)
            .or_default();
        lost.requests += requests;
        lost.entries += requests * entries_each;
    }

    /// Takes in what another client counted.
    pub(crate) fn join(&mut self, other: Self) {
        for (key, account) in other.accounts {
            let own = self.accounts.entry(key).or_default();
            for (place, count) in account.answered {
                *own.answered.entry(place).or_default() += count;
            }
            own.entries += account.entries;
            for (protocol, lost) in account.lost {
                let own = own.lost.entry(protocol).or_default();
                own.requests += lost.requests;
                own.entries += lost.entries;
            }
        }
        self.faults.extend(other.faults);
    }

    /// Holds them against the ledger. What was answered must be there; what is there beyond that
    /// must be a request that was sent and whose answer never came.
    pub(crate) fn against(&self, ledger: &Ledgered) -> Verdict {
        let mut verdict = Verdict {
            differences: self.faults.clone(),
            ..Verdict::default()
        };
        let strangers: BTreeSet<_> = ledger
            .requests
            .iter()
            .map(|row| row.key_id)
            .chain(ledger.entries.keys().copied())
            .filter(|key| !self.accounts.contains_key(key))
            .collect();
        for key in strangers {
            let what = format!("{key:?}: the ledger has usage, but nobody sent anything");
            verdict.differences.push(what);
        }
        for (key, account) in &self.accounts {
            account.against(*key, ledger, &mut verdict);
        }
        verdict
    }
}

impl Account {
    fn against(&self, key: KeyId, ledger: &Ledgered, verdict: &mut Verdict) {
        let mut differ = |found: u64, answered: u64, lost: u64, what: &dyn Fn() -> String| {
            if found < answered || found > answered + lost {
                let what = what();
                verdict.differences.push(format!(
                    "{key:?}: {what}: {answered} verified, {found} in the ledger, {lost} never answered"
                ));
            }
        };
        for protocol in [Protocol::Udp, Protocol::Http] {
            let lost = self.lost.get(&protocol).copied().unwrap_or_default().requests;
            let mut seconds: BTreeMap<(u16, Option<u64>), (u64, u64)> = BTreeMap::new();
            for ((of, outcome, second), count) in &self.answered {
                if *of == protocol {
                    seconds.entry((*outcome, *second)).or_default().0 += count;
                }
            }
            for row in &ledger.requests {
                if (row.key_id, row.protocol) == (key, protocol) {
                    let second = (protocol == Protocol::Udp).then_some(row.start);
                    seconds.entry((row.outcome, second)).or_default().1 += row.count;
                }
            }
            let (mut answered, mut found) = (0, 0);
            for ((outcome, second), (of_clients, of_ledger)) in seconds {
                differ(of_ledger, of_clients, lost, &|| {
                    format!("{protocol:?}, code {outcome}, second {second:?}")
                });
                answered += of_clients;
                found += of_ledger;
                if outcome == 0 {
                    verdict.answered += of_clients;
                    verdict.billed += of_ledger;
                } else {
                    verdict.refused += of_clients;
                    verdict.metered += of_ledger;
                }
            }
            // What was never answered may explain an excess in one second, but not in each of them.
            differ(found, answered, lost, &|| format!("{protocol:?}, all"));
            verdict.lost += lost;
        }
        let found = ledger.entries.get(&key).copied().unwrap_or_default();
        let lost = self.lost.values().map(|lost| lost.entries).sum();
        differ(found, self.entries, lost, &|| "prices".to_owned());
        verdict.entries += self.entries;
        verdict.billed_entries += found;
    }
}

impl Verdict {
    /// Requests that are in the ledger although their answers never came.
    pub(crate) const fn counted_unanswered(&self) -> u64 {
        (self.billed + self.metered).saturating_sub(self.answered + self.refused)
    }

    /// Fails the test if anything that was answered is not billed once, or anything else is.
    pub(crate) fn must_agree(&self) {
        assert!(
            self.differences.is_empty(),
            "{self}\n{}",
            self.differences.join("\n")
        );
        assert!(self.answered > 0, "nothing was asked: {self}");
    }

    /// The same, where nothing was in the way that could lose an answer.
    pub(crate) fn must_agree_exactly(&self) {
        self.must_agree();
        assert_eq!(
            (self.answered, self.refused, self.entries),
            (self.billed, self.metered, self.billed_entries),
            "{self}"
        );
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "verified {}, billed {}; refusals verified {}, metered {}; prices verified {}, in the ledger {}; sent and \
             never answered {}, of which {} were counted",
            self.answered,
            self.billed,
            self.refused,
            self.metered,
            self.entries,
            self.billed_entries,
            self.lost,
            self.counted_unanswered()
        )
    }
}

mod tests {
    use super::*;

    const KEY: KeyId = KeyId(5);

    fn row(protocol: Protocol, outcome: u16, start: u64, count: u64) -> UsageSum {
        UsageSum {
            key_id: KEY,
            start,
            protocol,
            outcome,
            count,
            latency_sum_ns: 0,
            latency_max_ns: 0,
        }
    }

    fn ledgered(requests: &[(Protocol, u16, u64, u64)], entries: u64) -> Ledgered {
        Ledgered {
            requests: requests.iter().map(|(p, o, s, n)| row(*p, *o, *s, *n)).collect(),
            entries: BTreeMap::from([(KEY, entries)]),
        }
    }

    /// Two UDP replies in second 7, one refusal, one HTTP reply of 3 prices; one UDP request lost.
    fn books() -> Books {
        let mut books = Books::default();
        books.answered(KEY, Protocol::Udp, 0, Some(7), 1);
        books.answered(KEY, Protocol::Udp, 0, Some(7), 1);
        books.answered(KEY, Protocol::Udp, 4, Some(7), 0);
        books.answered(KEY, Protocol::Http, 0, None, 3);
        books.lost(KEY, Protocol::Udp, 1, 1);
        books
    }

    #[test]
    fn the_same_in_both_is_no_difference_and_a_lost_request_may_be_there_or_not() {
        let http = (Protocol::Http, 0, 8, 1);
        let all = ledgered(&[(Protocol::Udp, 0, 7, 2), (Protocol::Udp, 4, 7, 1), http], 5);
        let verdict = books().against(&all);
        verdict.must_agree_exactly();
        let lost_too = ledgered(
            &[
                (Protocol::Udp, 0, 7, 2),
                (Protocol::Udp, 0, 8, 1),
                (Protocol::Udp, 4, 7, 1),
                http,
            ],
            6,
        );
        let verdict = books().against(&lost_too);
        verdict.must_agree();
        assert_eq!(verdict.counted_unanswered(), 1, "{verdict}");
    }

    #[test]
    fn a_request_too_few_or_too_many_in_any_place_is_a_difference() {
        let right = [
            (Protocol::Udp, 0, 7, 2),
            (Protocol::Udp, 4, 7, 1),
            (Protocol::Http, 0, 8, 1),
        ];
        for place in 0..right.len() {
            let mut less = right;
            less[place].3 -= 1;
            assert_eq!(
                books().against(&ledgered(&less, 5)).differences.len(),
                2,
                "{less:?}"
            );
            // One more of UDP may be the lost one; two may not, nor one of HTTP.
            let mut more = right;
            more[place].3 += if more[place].0 == Protocol::Udp { 2 } else { 1 };
            assert_eq!(
                books().against(&ledgered(&more, 5)).differences.len(),
                2,
                "{more:?}"
            );
        }
        for entries in [4, 7] {
            assert_eq!(books().against(&ledgered(&right, entries)).differences.len(), 1);
        }
        let mut moved = right;
        moved[0].2 = 9;
        assert!(
            !books().against(&ledgered(&moved, 5)).differences.is_empty(),
            "a wrong second"
        );
    }

    #[test]
    fn one_lost_request_explains_one_more_in_one_second_only() {
        let two = [
            (Protocol::Udp, 0, 7, 3),
            (Protocol::Udp, 4, 7, 2),
            (Protocol::Http, 0, 8, 1),
        ];
        assert_eq!(books().against(&ledgered(&two, 5)).differences.len(), 1);
    }

    #[test]
    fn usage_of_a_key_that_sent_nothing_is_a_difference() {
        let mut ledger = ledgered(&[], 0);
        ledger.entries = BTreeMap::from([(KeyId(6), 1)]);
        assert_eq!(Books::default().against(&ledger).differences.len(), 1);
    }
}
