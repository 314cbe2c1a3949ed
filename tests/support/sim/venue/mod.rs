//! The venues' protocols, one file each, written from the venues' documentation and from captured
//! messages, not from the product's parsers.

mod binance;
mod bitstamp;
mod bybit;
mod coinbase;
mod cryptocom;
mod gate;
mod gemini;
mod kraken;
mod kucoin;
mod okx;

use super::protocol::VenueKind;

const KINDS: [&VenueKind; 11] = [
    &coinbase::KIND,
    &kraken::KIND,
    &gemini::KIND,
    &okx::KIND,
    &cryptocom::KIND,
    &gate::KIND,
    &binance::KIND,
    &binance::KIND_US,
    &bitstamp::KIND,
    &bybit::KIND,
    &kucoin::KIND,
];

/// The venue of this name.
pub(super) fn kind(name: &str) -> Option<&'static VenueKind> {
    KINDS.into_iter().find(|kind| kind.name == name)
}
