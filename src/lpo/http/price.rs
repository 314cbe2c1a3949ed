//! One price as JSON.

use jiff::Timestamp;
use trinity_protocol::{PriceEntry, PriceFlags, PriceStatus, Symbol};

use super::json::Json;
use crate::tables::prices::{PriceRecord, PriceTable, SymbolIndex};

/// Room for one price.
pub(super) const PRICE_BYTES: usize = 560;

/// What is known of one asset: the entry that UDP would give, and its age.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quoted<'a> {
    /// As the client spelt it.
    pub(super) asset: &'a str,
    /// The symbol it stands for.
    pub(super) symbol: Option<(SymbolIndex, Symbol)>,
    /// The wire entry.
    pub(super) entry: PriceEntry,
    /// Age on this machine's clock, nanoseconds.
    pub(super) age_ns: u64,
    /// The request waited for it to be fetched.
    pub(super) awaited: bool,
}

impl<'a> Quoted<'a> {
    /// Looks an asset up, for a caller at `now_ns` who accepts `max_age_ms` (0: the symbol's
    /// default).
    pub(super) fn look_up(asset: &'a str, prices: &PriceTable, max_age_ms: u32, now_ns: u64) -> Self {
        let names = prices.names();
        let symbol = Symbol::from_any_case(asset)
            .ok()
            .and_then(|symbol| names.find(&symbol.to_wire()))
            .and_then(|index| Some((index, names.name(index)?)));
        let record = symbol.and_then(|(index, _)| prices.read(index));
        let unknown = PriceEntry {
            status: PriceStatus::UnknownSymbol as u8,
            ..PriceEntry::default()
        };
        Self {
            asset,
            symbol,
            entry: record.map_or(unknown, |record: PriceRecord| record.entry_at(now_ns, max_age_ms)),
            age_ns: record.map_or(0, |record| record.age_ns(now_ns)),
            awaited: false,
        }
    }

    /// How the price is marked.
    pub(super) fn status(&self) -> PriceStatus {
        PriceStatus::from_wire(self.entry.status).unwrap_or(PriceStatus::NoPrice)
    }

    /// Whether both are the same symbol, or the same name of none.
    pub(super) fn is_same_asset(&self, other: &Self) -> bool {
        match (self.symbol, other.symbol) {
            (Some((a, _)), Some((b, _))) => a == b,
            (None, None) => self.asset.eq_ignore_ascii_case(other.asset),
            _ => false,
        }
    }

    /// Writes the object's members; the caller writes the brackets, and the latency between.
    pub(super) fn write(&self, json: &mut Json, source: &str) {
        json.key("asset").string(self.asset);
        self.write_price(json, source);
        self.write_age(json);
    }

    /// Writes what is the same for everybody who asks until the price changes.
    pub(super) fn write_price(&self, json: &mut Json, source: &str) {
        let (entry, status) = (&self.entry, self.status());
        let exponent = entry.exponent;
        let mantissa = entry.mantissa.get();
        let (negative, magnitude) = (mantissa < 0, mantissa.unsigned_abs());
        let has_value = status.has_value();
        json.key("symbol");
        match self.symbol {
            Some((_, symbol)) => json.string(symbol.as_str()),
            None => json.null(),
        };
        // The price is an exact decimal; readers whose JSON numbers are floats take
        // `price_text`, or `mantissa` and `exponent`. Mantissa and confidence are whole units of
        // 10^exponent, as over UDP.
        if has_value {
            json.key("price").decimal(negative, magnitude, exponent);
            json.key("price_text").decimal_text(negative, magnitude, exponent);
            json.key("mantissa").integer(mantissa);
            json.key("confidence").integer(entry.confidence.get());
            json.key("confidence_text")
                .decimal_text(false, entry.confidence.get(), exponent);
        } else {
            for key in ["price", "price_text", "mantissa", "confidence", "confidence_text"] {
                json.key(key).null();
            }
        }
        json.key("exponent").integer(exponent);
        json.key("status").string(status.name());
        json.key("venues").integer(entry.venues);
        json.key("flags").integer(entry.flags);
        json.key("flag_names").open_array();
        for flag in PriceFlags(entry.flags).names() {
            json.string(flag);
        }
        json.close_array();
        json.key("sequence").integer(entry.sequence.get());
        if has_value {
            let published = entry.publish_time_ns.get();
            json.key("publish_time_ns").integer(published);
            json.key("timestamp");
            match Timestamp::from_nanosecond(published.into()) {
                Ok(time) => json.plain_string(time),
                Err(_) => json.null(),
            };
        } else {
            json.key("publish_time_ns").null().key("timestamp").null();
        }
        json.key("source").string(source);
        // In memory before it was asked for, or fetched while this request waited.
        let fetched = self.awaited && PriceFlags(entry.flags).contains(PriceFlags::FETCHED);
        json.key("cached").boolean(has_value && !fetched);
    }

    pub(super) fn write_age(&self, json: &mut Json) {
        json.key("cache_age_seconds");
        if self.status().has_value() {
            json.decimal(false, self.age_ns / 1_000_000, -3);
        } else {
            json.null();
        }
    }
}

/// Writes how long the answer took, under its name of today and that of the older system.
pub(super) fn write_latency(json: &mut Json, latency_ns: u64) {
    for key in ["latency_ms", "duration_ms"] {
        json.key(key).decimal(false, latency_ns / 1_000, -3);
    }
}
