//! Streams that fail: several venues at once, each in its own way, while the others are well.
//!
//! Whatever happens, the price is live and the well venues' own; what failed is noticed, named,
//! taken out of the price where its quotes are not to be believed, and heals.

use std::thread::sleep;
use std::time::Duration;

use trinity_beast::clock;

use crate::sim::{Fault, Garbage};
use crate::site::{FEW, Site, cost, eventually, ok, quote_all};
use crate::watch::Watch;

/// How a fault shows itself.
#[derive(Clone, Copy)]
enum Sign {
    /// A connection ends for this reason (`a or b`: one of them, whichever is found out first).
    Ended(&'static str),
    /// Quotes are turned away for this reason.
    Rejected(&'static str),
    /// Frames are not understood.
    Invalid,
    /// Subscriptions are refused.
    Refused,
    /// Its quotes are taken out of the price, long before they would be too old.
    Withdrawn,
    /// `/ready` warns of it.
    Warned,
}

/// A venue, what happens to it, in this order, and how that shows.
struct Case {
    venue: &'static str,
    faults: &'static [Fault],
    signs: &'static [Sign],
}

/// A share of the price by which all markets move while the faults begin, in small steps, so that
/// whoever believes a quote from before is found out.
const DRIFT: f64 = 0.01;
const STEPS: u32 = 20;

fn put_up_with(cases: &[Case]) {
    let site = Site::of_ten();
    let before: Vec<_> = cases.iter().map(|case| signs(&site, case)).collect();
    let opened: Vec<_> = cases
        .iter()
        .map(|case| site.sim(case.venue).stats().opened)
        .collect();
    let watch = Watch::of(&site, "BTC-USD");
    let began = clock::monotonic();
    for case in cases {
        for fault in case.faults {
            site.sim(case.venue).fault(*fault);
        }
    }
    for step in 1..=STEPS {
        let factor = 1.0 + DRIFT * f64::from(step) / f64::from(STEPS);
        for sim in &site.sims {
            quote_all(sim, &FEW, factor);
        }
        sleep(Duration::from_millis(100));
    }
    let old = cost("BTC", "USD").expect("priced");
    let new = old * (1.0 + DRIFT);
    eventually("the price has followed", || {
        let price = site.price("BTC-USD");
        let value = price.mantissa as f64 * 10_f64.powi(price.exponent.into());
        ok((value / new - 1.0).abs() < 0.000_2).ok_or(value)
    });
    let drifting = watch.was_live_within(old, new, 0.000_5);
    let watch = Watch::of(&site, "BTC-USD");

    for ((case, before), opened) in cases.iter().zip(&before).zip(opened) {
        let venue = case.venue;
        for (sign, before) in case.signs.iter().zip(before) {
            eventually(venue, || {
                let now = sign.of(&site, venue);
                ok(now > *before).ok_or_else(|| {
                    format!(
                        "{} is {now}: {} {:?}",
                        sign.name(),
                        site.part("BTC-USD", venue),
                        site.ready()
                    )
                })
            });
            eprintln!("{venue}: {} within {:?}", sign.name(), began.elapsed());
        }
        eventually("it is connected to anew", || {
            let now = site.sim(venue).stats().opened;
            ok(now > opened).ok_or(now)
        });
        eprintln!("{venue}: connected to anew within {:?}", began.elapsed());
    }
    assert_eq!(site.ready().0, 200, "the others are enough");

    let healing = clock::monotonic();
    for case in cases {
        site.sim(case.venue).heal();
    }
    for case in cases {
        eventually(case.venue, || {
            let part = site.part("BTC-USD", case.venue);
            let (up, ready) = (site.up(case.venue), site.ready().1);
            ok(up == 1 && part["used"] == true && !ready.contains_key(&format!("venue-{}", case.venue)))
                .ok_or((up, part))
        });
        eprintln!(
            "{}: well again {:?} after the fault ended",
            case.venue,
            healing.elapsed()
        );
    }
    let seen = watch.was_live_within(new, new, 0.000_5);
    eprintln!("{drifting:?}\n{seen:?}");
    site.assert_no_violations();
}

fn signs(site: &Site, case: &Case) -> Vec<u64> {
    case.signs.iter().map(|sign| sign.of(site, case.venue)).collect()
}

impl Sign {
    /// How often it was seen.
    fn of(self, site: &Site, venue: &str) -> u64 {
        match self {
            Self::Ended(reasons) => reasons
                .split(" or ")
                .map(|reason| site.ended(venue, reason))
                .sum(),
            Self::Rejected(reason) => site.rejected(venue, reason),
            Self::Invalid => site.of_venue("invalid_total", venue),
            Self::Refused => {
                let labels = [("venue", venue), ("kind", "error")];
                site.metric("trinity_venue_events_total", &labels)
            }
            Self::Withdrawn => site.of_venue("quotes_withdrawn_total", venue),
            Self::Warned => u64::from(site.ready().1.contains_key(&format!("venue-{venue}"))),
        }
    }

    fn name(self) -> String {
        match self {
            Self::Ended(reason) => format!("a connection that ended as {reason}"),
            Self::Rejected(reason) => format!("a quote rejected as {reason}"),
            Self::Invalid => "a frame that is not understood".to_owned(),
            Self::Refused => "a refused subscription".to_owned(),
            Self::Withdrawn => "quotes taken out of the price".to_owned(),
            Self::Warned => "a warning".to_owned(),
        }
    }
}

#[test]
fn silent_streams_are_noticed_taken_out_of_the_price_and_healed() {
    put_up_with(&[
        Case {
            venue: "kraken",
            faults: &[Fault::RestHang, Fault::Mute],
            signs: &[Sign::Ended("mute"), Sign::Withdrawn, Sign::Warned],
        },
        Case {
            venue: "okx",
            faults: &[Fault::RestRefuse, Fault::AckThenSilent],
            signs: &[Sign::Ended("mute"), Sign::Withdrawn, Sign::Warned],
        },
        Case {
            venue: "gate",
            faults: &[Fault::RestHang, Fault::HeartbeatsOnly],
            signs: &[Sign::Ended("mute"), Sign::Withdrawn, Sign::Warned],
        },
        Case {
            venue: "bybit",
            faults: &[Fault::RestRefuse, Fault::RepeatOld],
            signs: &[
                Sign::Rejected("repeated"),
                Sign::Ended("mute"),
                Sign::Withdrawn,
                Sign::Warned,
            ],
        },
    ]);
}

#[test]
fn a_half_open_connection_is_replaced_by_one_that_works() {
    // New connections are well, and REST or the missing heartbeats tell that the old ones are
    // not; where REST's price happens to be the last one that came, a successor tells.
    put_up_with(&[
        Case {
            venue: "coinbase",
            faults: &[Fault::HalfOpen],
            signs: &[Sign::Ended("mute or silent or replaced")],
        },
        Case {
            venue: "kucoin",
            faults: &[Fault::HalfOpen],
            signs: &[Sign::Ended("mute or silent or replaced")],
        },
        Case {
            venue: "cryptocom",
            faults: &[Fault::HalfOpen],
            signs: &[Sign::Ended("mute or silent or replaced")],
        },
    ]);
}

#[test]
fn connections_that_end_or_are_refused_what_they_ask_for_are_begun_anew() {
    put_up_with(&[
        Case {
            venue: "bitstamp",
            faults: &[Fault::Drop { close_frame: false }],
            signs: &[Sign::Ended("closed")],
        },
        Case {
            venue: "kucoin",
            faults: &[Fault::Drop { close_frame: true }],
            signs: &[Sign::Ended("closed")],
        },
        Case {
            venue: "kraken",
            faults: &[Fault::CloseAfter(12)],
            signs: &[Sign::Ended("closed")],
        },
        Case {
            venue: "okx",
            faults: &[
                Fault::RestHang,
                Fault::ErrorOnSubscribe,
                Fault::Drop { close_frame: true },
            ],
            signs: &[Sign::Refused, Sign::Warned],
        },
        Case {
            // Who confirms nothing but quotes is well.
            venue: "binance",
            faults: &[Fault::NoAck, Fault::Drop { close_frame: false }],
            signs: &[Sign::Ended("closed")],
        },
    ]);
}

#[test]
fn garbage_costs_the_connection_and_nothing_else() {
    put_up_with(&[
        Case {
            venue: "kraken",
            faults: &[Fault::RestHang, Fault::Garbage(Garbage::NotJson)],
            signs: &[Sign::Invalid, Sign::Ended("mute"), Sign::Withdrawn, Sign::Warned],
        },
        Case {
            venue: "okx",
            faults: &[Fault::RestGarbage, Fault::Garbage(Garbage::Cut)],
            signs: &[Sign::Invalid, Sign::Ended("mute"), Sign::Withdrawn, Sign::Warned],
        },
        Case {
            venue: "gate",
            faults: &[Fault::RestHuge(4 << 20), Fault::Garbage(Garbage::NotUtf8)],
            signs: &[Sign::Invalid, Sign::Ended("mute"), Sign::Withdrawn, Sign::Warned],
        },
        Case {
            venue: "bybit",
            faults: &[Fault::RestHang, Fault::Garbage(Garbage::WrongTypes)],
            signs: &[Sign::Invalid, Sign::Ended("mute"), Sign::Withdrawn, Sign::Warned],
        },
        Case {
            venue: "binance",
            faults: &[Fault::HugeFrame(17 << 20)],
            signs: &[Sign::Ended("protocol")],
        },
    ]);
}
