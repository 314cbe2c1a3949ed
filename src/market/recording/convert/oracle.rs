//! Messages of the oracle Chronicle (Maker's), and its sources as a table.
//!
//! A message that tells its sources gives one quote of each source at the message's age, and not
//! the value made of them: that would let the oracle vote beside its own voters. A message
//! without sources gives its value as a quote of the venue `chronicle`, whichever feed signed it.
//! Messages that the oracle rejected are left out unless they are asked for.
//!
//! - `{"price":{"wat":"BTCUSD","val":"<1e18>","age":<unix s>,..},"trace":{"BTC/USD@kraken":"..",..}}`
//! - `{"type":"BTCUSD","price":..,"time":<unix s>,"sources":{..}}`
//! - log lines `{"msg":"Price collected","wat":..,"val":..,"age":"<RFC 3339>","time":"<RFC 3339>",..}`
//! - `file,line,asset,age_unix,value,pair,venue,price`
//!
//! Feeds answer at their own pace, some minutes apart: the age limits are three minutes and a
//! quarter of an hour.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::super::lines::Lines;
use super::rows::{Row, decimal};
use super::{Context, ConvertError, Instrument, names};
use crate::market::venue::VenueId;

pub(super) const SOURCES: &[&str] = &["age_unix", "pair", "venue", "price"];

const AGES_MS: (u32, u32) = (180_000, 900_000);

const NANOS: u64 = 1_000_000_000;

/// Any of the three forms of a message.
#[derive(Deserialize)]
struct Message {
    price: Option<Value>,
    trace: Option<BTreeMap<String, Value>>,
    #[serde(rename = "type")]
    kind: Option<String>,
    sources: Option<BTreeMap<String, Value>>,
    msg: Option<String>,
    wat: Option<String>,
    val: Option<String>,
    age: Option<Value>,
    time: Option<Value>,
    error: Option<String>,
}

/// What a message comes to.
struct Told {
    asset: String,
    /// The value's text, and 10 to this.
    value: (String, i8),
    time_ns: u64,
    venue_time_ns: Option<u64>,
    sources: BTreeMap<String, Value>,
}

pub(super) fn is_message(first: &str) -> bool {
    let Ok(message) = serde_json::from_str::<Message>(first) else {
        return false;
    };
    message
        .price
        .as_ref()
        .is_some_and(|price| price.get("wat").is_some())
        || (message.kind.is_some() && message.sources.is_some())
        || (message.wat.is_some() && message.val.is_some())
}

pub(super) fn read_messages(context: &mut Context<'_>, lines: Lines) {
    context.ages_ms = Some(AGES_MS);
    context.each_line(lines, |context, text| {
        let message: Message =
            serde_json::from_str(text).map_err(|error| format!("not a message: {error}"))?;
        let rejected = message.error.is_some() || message.msg.as_deref() == Some("Price rejected");
        if rejected && !context.options.with_rejected {
            context.leave_out("messages that the oracle rejected; --with-rejected takes them");
            return Ok(());
        }
        let told = told(message)?;
        if told.sources.is_empty() {
            let chronicle = VenueId::from_name("chronicle").ok_or("the venue chronicle is not known")?;
            return value(context, chronicle, &told);
        }
        for (source, price) in &told.sources {
            let (pair, venue) = source
                .split_once('@')
                .ok_or_else(|| format!("source `{source}` is not PAIR@VENUE"))?;
            let text = text_of(price).ok_or_else(|| format!("{source} has no price"))?;
            quote(context, told.time_ns, pair, venue, &text)?;
        }
        Ok(())
    });
}

pub(super) fn read_sources(context: &mut Context<'_>, lines: Lines) -> Result<(), ConvertError> {
    context.ages_ms = Some(AGES_MS);
    context.each_row(lines, SOURCES, |context, fields| {
        quote(
            context,
            fields.whole(0, NANOS)?,
            fields.text(1),
            fields.text(2),
            fields.text(3),
        )
    })
}

/// One source's price.
fn quote(
    context: &mut Context<'_>,
    time_ns: u64,
    pair: &str,
    venue_name: &str,
    price: &str,
) -> Result<(), String> {
    let Some(venue) = context.venue(venue_name) else {
        context.leave_out(&format!("venue {venue_name} is not known"));
        return Ok(());
    };
    let price = decimal("price", price)?;
    let instrument = Instrument::parse(pair).ok_or_else(|| format!("`{pair}` is no pair"))?;
    let market = context.markets.number(venue, &instrument, None)?;
    context.markets.sample(market, Some(price));
    context.push(Row {
        time_ns,
        market,
        last: Some(price),
        ..Row::default()
    });
    Ok(())
}

/// The oracle's own value.
fn value(context: &mut Context<'_>, chronicle: VenueId, told: &Told) -> Result<(), String> {
    let (text, exponent) = &told.value;
    let price = decimal("value", &format!("{text}e{exponent}"))?;
    let instrument = context
        .markets
        .pair(&told.asset)
        .ok_or_else(|| format!("`{}` is no pair", told.asset))?;
    let market = context.markets.number(chronicle, &instrument, None)?;
    context.markets.sample(market, Some(price));
    context.push(Row {
        time_ns: told.time_ns,
        market,
        last: Some(price),
        venue_time_ns: told.venue_time_ns,
        ..Row::default()
    });
    Ok(())
}

fn told(message: Message) -> Result<Told, String> {
    let sources = message.trace.or(message.sources).unwrap_or_default();
    if let Some(price) = message.price.as_ref().filter(|price| price.is_object()) {
        let text = |name: &str| price.get(name).and_then(text_of).ok_or(format!("no {name}"));
        let time_ns = moment(price.get("age"))?;
        return Ok(Told {
            asset: text("wat")?,
            value: (text("val")?, -18),
            time_ns,
            venue_time_ns: None,
            sources,
        });
    }
    if let (Some(asset), Some(price)) = (&message.kind, &message.price) {
        return Ok(Told {
            asset: asset.clone(),
            value: (text_of(price).ok_or("no price")?, 0),
            time_ns: moment(message.time.as_ref())?,
            venue_time_ns: None,
            sources,
        });
    }
    let asset = message.wat.ok_or("no asset in it")?;
    let value = message.val.ok_or("no value in it")?;
    let age_ns = moment(message.age.as_ref())?;
    // The log's own time is when it was received; the age is when the feed made it.
    let time_ns = match &message.time {
        None => age_ns,
        time => moment(time.as_ref())?,
    };
    Ok(Told {
        asset,
        value: (value, -18),
        time_ns,
        venue_time_ns: Some(age_ns),
        sources,
    })
}

/// Unix seconds, or RFC 3339.
fn moment(value: Option<&Value>) -> Result<u64, String> {
    match value {
        Some(Value::Number(seconds)) => seconds
            .as_u64()
            .and_then(|seconds| seconds.checked_mul(NANOS))
            .ok_or_else(|| format!("time {seconds} is no Unix time")),
        Some(Value::String(text)) => text
            .parse::<Timestamp>()
            .map_err(|error| format!("time `{text}`: {error}"))
            .and_then(names::unix_ns),
        _ => Err("no time in it".to_owned()),
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
