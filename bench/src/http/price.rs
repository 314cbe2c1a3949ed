//! Whether the body of an answer is the price that was asked for.
//!
//! One pass over the members of a flat JSON object, without copying; a full JSON parser looks
//! at a sample besides, so that a body which only this reader takes for JSON shows.

use memchr::{memchr, memchr2};

/// What an answer says of one price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Price<'a> {
    /// The asset as it was asked for.
    pub(crate) asset: &'a [u8],
    /// Units of 10^exponent.
    pub(crate) mantissa: i64,
    /// Of the price.
    pub(crate) confidence: u64,
    pub(crate) exponent: i8,
    pub(crate) sequence: u32,
    /// `LIVE` and so on.
    pub(crate) status: &'a [u8],
}

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoPrice(pub(crate) &'static str);

const PRICE: u8 = 1;
const ASSET: u8 = 1 << 1;
const MANTISSA: u8 = 1 << 2;
const CONFIDENCE: u8 = 1 << 3;
const EXPONENT: u8 = 1 << 4;
const SEQUENCE: u8 = 1 << 5;
const STATUS: u8 = 1 << 6;
const TEXT: u8 = 1 << 7;

impl<'a> Price<'a> {
    /// Reads the body of `GET /price`. `price` and `price_text` must be the exact decimal that
    /// `mantissa` and `exponent` make.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, NoPrice> {
        let mut price = Self::default();
        let (mut decimal, mut text) = (&body[..0], &body[..0]);
        let mut seen = 0_u8;
        let mut rest = body
            .strip_prefix(b"{")
            .ok_or(NoPrice("the body is no JSON object"))?;
        loop {
            let (key, after) = string(rest)?;
            let after = after
                .strip_prefix(b":")
                .ok_or(NoPrice("a member without a colon"))?;
            let (value, after) = value(after)?;
            let part = match key {
                b"asset" => {
                    price.asset = unquote(value)?;
                    ASSET
                }
                b"price" => {
                    decimal = value;
                    PRICE
                }
                b"price_text" => {
                    text = unquote(value)?;
                    TEXT
                }
                b"mantissa" => {
                    price.mantissa = number(value)?;
                    MANTISSA
                }
                b"confidence" => {
                    price.confidence = number(value)?;
                    CONFIDENCE
                }
                b"exponent" => {
                    price.exponent = number(value)?;
                    EXPONENT
                }
                b"sequence" => {
                    price.sequence = number(value)?;
                    SEQUENCE
                }
                b"status" => {
                    price.status = unquote(value)?;
                    STATUS
                }
                _ => 0,
            };
            if seen & part != 0 {
                return Err(NoPrice("a member that is there twice"));
            }
            seen |= part;
            match after {
                [b',', more @ ..] => rest = more,
                [b'}'] => break,
                _ => return Err(NoPrice("the JSON object does not end where it should")),
            }
        }
        if seen != u8::MAX {
            return Err(NoPrice("a member of the price is missing"));
        }
        if decimal != text || !is_exact(decimal, price.mantissa, price.exponent) {
            return Err(NoPrice("the decimal price is not mantissa x 10^exponent"));
        }
        Ok(price)
    }
}

/// Whether a text is `mantissa x 10^exponent` in full, with exactly as many places as the
/// exponent says.
fn is_exact(text: &[u8], mantissa: i64, exponent: i8) -> bool {
    let unsigned = text.strip_prefix(b"-").unwrap_or(text);
    if (unsigned.len() < text.len()) != (mantissa < 0) {
        return false;
    }
    let (whole, part) = match memchr(b'.', unsigned) {
        Some(at) => (&unsigned[..at], &unsigned[at + 1..]),
        None => (unsigned, &unsigned[..0]),
    };
    let places = usize::from(exponent.unsigned_abs());
    let has_places = if exponent < 0 {
        part.len() == places
    } else {
        whole.len() == unsigned.len()
    };
    if whole.is_empty() || (whole.len() > 1 && whole[0] == b'0') || !has_places {
        return false;
    }
    let mut number = 0_u128;
    for digit in whole.iter().chain(part) {
        if !digit.is_ascii_digit() || number > u128::MAX / 20 {
            return false;
        }
        number = number * 10 + u128::from(digit - b'0');
    }
    let scale = 10_u128.checked_pow(exponent.max(0).unsigned_abs().into());
    scale.and_then(|scale| u128::from(mantissa.unsigned_abs()).checked_mul(scale)) == Some(number)
}

/// A string without its quotes, and what follows. Escapes are left as they are.
fn string(text: &[u8]) -> Result<(&[u8], &[u8]), NoPrice> {
    let inner = text
        .strip_prefix(b"\"")
        .ok_or(NoPrice("no string where one should be"))?;
    let mut from = 0;
    loop {
        let at = memchr2(b'"', b'\\', &inner[from..]).ok_or(NoPrice("a string without an end"))? + from;
        if inner[at] == b'"' {
            return Ok((&inner[..at], &inner[at + 1..]));
        }
        from = at + 2;
        if from > inner.len() {
            return Err(NoPrice("a string without an end"));
        }
    }
}

/// A value, and what follows it.
fn value(text: &[u8]) -> Result<(&[u8], &[u8]), NoPrice> {
    let len = match text.first() {
        Some(b'"') => string(text)?.0.len() + 2,
        Some(b'[') => {
            let mut rest = &text[1..];
            while !rest.starts_with(b"]") {
                if rest.starts_with(b"[") {
                    return Err(NoPrice("an array in an array"));
                }
                let (_, after) = value(rest)?;
                rest = after.strip_prefix(b",").unwrap_or(after);
                if after.len() == rest.len() && !rest.starts_with(b"]") {
                    return Err(NoPrice("an array without an end"));
                }
            }
            text.len() - rest.len() + 1
        }
        _ => text
            .iter()
            .position(|byte| matches!(byte, b',' | b'}' | b']'))
            .filter(|len| *len > 0)
            .ok_or(NoPrice("a member without a value"))?,
    };
    Ok(text.split_at(len))
}

fn unquote(value: &[u8]) -> Result<&[u8], NoPrice> {
    value
        .strip_prefix(b"\"")
        .and_then(|value| value.strip_suffix(b"\""))
        .ok_or(NoPrice("a text that is no string"))
}

fn number<T: std::str::FromStr>(value: &[u8]) -> Result<T, NoPrice> {
    std::str::from_utf8(value)
        .ok()
        .filter(|text| !text.starts_with('+'))
        .and_then(|text| text.parse().ok())
        .ok_or(NoPrice("a number that is none, or out of its range"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trinity_protocol::DecimalText;

    use super::*;

    const GOOD: &str = r#"{"asset":"b\"tc","symbol":"BTC-USD","price":22639.50000,"price_text":"22639.50000","mantissa":2263950000,"confidence":1250,"confidence_text":"0.01250","exponent":-5,"status":"LIVE","venues":3,"flags":64,"flag_names":["REPLAYED","A"],"sequence":7,"cached":true,"x":null,"empty":[]}"#;

    #[test]
    fn a_price_is_read() {
        let price = Price::parse(GOOD.as_bytes()).expect("a price");
        let expected = Price {
            asset: br#"b\"tc"#,
            mantissa: 2_263_950_000,
            confidence: 1_250,
            exponent: -5,
            sequence: 7,
            status: b"LIVE",
        };
        assert_eq!(price, expected);
    }

    #[test]
    fn what_is_no_exact_price_is_refused() {
        for (from, to) in [
            ("22639.50000,", "22639.5,"),
            ("22639.50000\"", "22639.50001\""),
            ("\"mantissa\":2263950000", "\"mantissa\":2263950001"),
            ("\"mantissa\":2263950000", "\"mantissa\":2.26395e9"),
            ("\"mantissa\":2263950000", "\"mantissa\":+2263950000"),
            ("\"exponent\":-5", "\"exponent\":-4"),
            ("\"exponent\":-5", "\"exponent\":-500"),
            ("\"sequence\":7", "\"sequence\":-7"),
            ("\"sequence\":7", "\"sequence\":null"),
            ("\"sequence\":7,", ""),
            ("\"sequence\":7", "\"sequence\":7,\"sequence\":8"),
            ("\"status\":\"LIVE\"", "\"status\":LIVE"),
            ("\"asset\":", "\"asset\""),
            ("[\"REPLAYED\",\"A\"]", "[\"REPLAYED\" \"A\"]"),
            ("[\"REPLAYED\",\"A\"]", "[[\"REPLAYED\"]]"),
            ("\"empty\":[]}", "\"empty\":[]"),
            ("\"empty\":[]}", "\"empty\":[]}}"),
            ("\"empty\":[]}", "\"empty\":[]},"),
            ("\"empty\":[]}", "\"empty\":}"),
        ] {
            let bad = GOOD.replace(from, to);
            assert_ne!(bad, GOOD, "{from}");
            assert!(Price::parse(bad.as_bytes()).is_err(), "{from} -> {to}");
        }
        for len in 0..GOOD.len() {
            assert!(Price::parse(&GOOD.as_bytes()[..len]).is_err(), "{len}");
        }
    }

    proptest! {
        #[test]
        fn the_protocols_decimals_are_exact_and_their_neighbours_are_not(mantissa: i64, exponent in -18_i8..=18) {
            prop_assume!(mantissa != 0);
            let text = DecimalText { mantissa, exponent }.to_string();
            let (before, after) = (format!("0{text}"), format!("{text}0"));
            prop_assert!(is_exact(text.as_bytes(), mantissa, exponent), "{}", text);
            prop_assert!(!is_exact(text.as_bytes(), mantissa ^ 1, exponent));
            prop_assert!(!is_exact(text.as_bytes(), mantissa, exponent - 1));
            prop_assert!(!is_exact(before.as_bytes(), mantissa, exponent));
            prop_assert!(!is_exact(after.as_bytes(), mantissa, exponent));
        }
    }
}
