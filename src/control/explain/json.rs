//! An explanation as JSON: prices as exact decimal text, times in nanoseconds, ages in milliseconds.

use trinity_protocol::PriceFlags;

use crate::lpo::http::json::Json;
use crate::market::decimal::Decimal;
use crate::market::quote::Quote;
use crate::market::symbol::SymbolId;
use crate::market::{AggregatedPrice, Explanation, MarketEngine, VenueExplanation};

/// Room for one venue.
const VENUE_BYTES: usize = 768;

/// The whole text. `sequence` is the one that readers of the price see.
pub(super) fn write(engine: &MarketEngine, explanation: &Explanation, sequence: u32) -> Vec<u8> {
    let table = engine.table();
    let spec = table.symbol(explanation.symbol);
    let price = &explanation.price;
    let exponent = spec.exponent;
    let mut json = Json::with_capacity(1_024 + explanation.venues.len() * VENUE_BYTES);
    json.open_object();
    json.key("symbol").string(spec.name.as_str());
    write_price(&mut json, price);
    json.key("exponent").integer(exponent);
    json.key("rule").string(explanation.rule.name());
    json.key("rule_text").string(explanation.rule.sentence());
    json.key("sequence").integer(sequence);
    let published = price.publish_time_ns;
    json.key("publish_time_ns");
    optional(&mut json, (published > 0).then_some(published));
    json.key("age_ms");
    let age_ns = explanation.asked_ns.saturating_sub(published);
    optional(
        &mut json,
        price.status.has_value().then_some(age_ns / NANOS_PER_MILLI),
    );
    json.key("asked_ns").integer(explanation.asked_ns);
    json.key("evaluated_ns").integer(explanation.evaluated_ns);
    json.key("venues_used").integer(price.venues_used);
    json.key("min_sources").integer(spec.min_sources);
    json.key("max_age_ms").integer(spec.max_age_ms);
    json.key("hard_age_ms").integer(spec.hard_age_ms);
    json.key("jump_bps").integer(spec.jump_bps);
    json.key("dispute_bps").integer(spec.dispute_bps);
    json.key("peg_bps");
    optional(&mut json, spec.peg_bps);
    for (key, value) in [
        ("median", explanation.median),
        ("deviation", explanation.deviation),
        ("limit", explanation.limit),
    ] {
        // Without any vote there is nothing to measure.
        amount(
            &mut json,
            key,
            (explanation.median > 0).then_some(value),
            exponent,
        );
    }
    amount(&mut json, "held_candidate", explanation.held_candidate, exponent);
    json.key("venues").open_array();
    for part in &explanation.venues {
        write_venue(&mut json, engine, explanation, part, exponent);
    }
    json.close_array().close_object();
    json.finish()
}

const NANOS_PER_MILLI: u64 = 1_000_000;

/// Price, confidence, status and flags, of a symbol or a rate.
fn write_price(json: &mut Json, price: &AggregatedPrice) {
    let value = price.status.has_value().then_some(price.mantissa);
    amount(json, "price", value, price.exponent);
    json.key("confidence");
    match value {
        Some(_) => json.decimal_text(false, price.confidence, price.exponent),
        None => json.null(),
    };
    json.key("status").string(price.status.name());
    write_flags(json, price.flags);
}

fn write_flags(json: &mut Json, flags: PriceFlags) {
    json.key("flag_names").open_array();
    for flag in flags.names() {
        json.string(flag);
    }
    json.close_array();
}

fn write_venue(
    json: &mut Json,
    engine: &MarketEngine,
    explanation: &Explanation,
    part: &VenueExplanation,
    exponent: i8,
) {
    let market = engine.table().market(part.market);
    let voted = part.price > 0;
    json.open_object();
    json.key("venue").string(part.venue.name());
    json.key("instrument")
        .string(market.spellings.first().map_or("", |name| name));
    json.key("used").boolean(part.disposition.is_used());
    json.key("reason").string(part.disposition.name());
    json.key("reason_text").string(part.disposition.sentence());
    // Millionths: six places of one.
    json.key("weight").decimal_text(false, part.weight_ppm.into(), -6);
    amount(json, "price", voted.then_some(part.price), exponent);
    amount(json, "confidence", voted.then_some(part.confidence), exponent);
    amount(json, "bid", part.bid, exponent);
    amount(json, "ask", part.ask, exponent);
    let distance = part.price.saturating_sub(explanation.median);
    amount(json, "distance", voted.then_some(distance), exponent);
    amount(json, "limit", voted.then_some(part.limit), exponent);
    json.key("age_ms");
    optional(json, part.age_ns.map(|age_ns| age_ns / NANOS_PER_MILLI));
    json.key("probation_left").integer(part.probation_left);
    json.key("last_reject");
    match part.last_reject {
        Some(reason) => json.string(reason.name()),
        None => json.null(),
    };
    json.key("quote");
    match &part.quote {
        Some(quote) => write_quote(json, quote),
        None => _ = json.null(),
    }
    json.key("route");
    match part.rate {
        Some(rate) => write_route(json, engine, rate),
        None => _ = json.null(),
    }
    json.close_object();
}

/// What the venue said, in its own unit.
fn write_quote(json: &mut Json, quote: &Quote) {
    json.open_object();
    for (key, price) in [
        ("bid", quote.bid),
        ("ask", quote.ask),
        ("last", quote.last),
        ("confidence", quote.confidence),
    ] {
        json.key(key);
        match price {
            Some(price) => json.string(&Decimal::to_string(&price)),
            None => json.null(),
        };
    }
    json.key("receive_time_ns").integer(quote.receive_time_ns);
    json.key("venue_time_ns");
    optional(json, quote.venue_time_ns);
    json.key("sequence");
    optional(json, quote.sequence);
    json.key("fetched").boolean(quote.fetched);
    json.close_object();
}

/// The rate a vote was converted with, or would have been.
fn write_route(json: &mut Json, engine: &MarketEngine, rate: SymbolId) {
    json.open_object();
    json.key("symbol")
        .string(engine.table().symbol(rate).name.as_str());
    write_price(json, engine.price(rate));
    json.close_object();
}

fn amount(json: &mut Json, key: &'static str, mantissa: Option<i64>, exponent: i8) {
    json.key(key);
    match mantissa {
        Some(mantissa) => json.decimal_text(mantissa < 0, mantissa.unsigned_abs(), exponent),
        None => json.null(),
    };
}

fn optional(json: &mut Json, number: Option<impl Into<i128>>) {
    match number {
        Some(number) => json.integer(number),
        None => json.null(),
    };
}
