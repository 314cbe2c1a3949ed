//! What a client asks: the query string of `GET /price` and the body of `POST /prices`.

use std::borrow::Cow;

use serde::Deserialize;

use super::problem::Problem;
use crate::limits::HTTP_ASSETS;

/// `GET /price?asset=btc&max_age_ms=500`.
#[derive(Debug, PartialEq, Eq)]
pub struct PriceQuery<'a> {
    /// The asset as the client spelt it.
    pub asset: Cow<'a, str>,
    /// Oldest price that is not STALE to this client, milliseconds; 0 is the symbol's default.
    pub max_age_ms: u32,
}

/// `POST /prices`.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchQuery<'a> {
    /// The assets as the client spelt them, duplicates and all.
    #[serde(alias = "symbols", borrow)]
    pub assets: Vec<Cow<'a, str>>,
    /// As in [`PriceQuery`].
    #[serde(default)]
    pub max_age_ms: u32,
}

/// What is asked, in either way.
#[derive(Debug)]
pub struct Question<'a> {
    /// The assets as the client spelt them, duplicates and all; at least one.
    pub assets: Vec<Cow<'a, str>>,
    /// As in [`PriceQuery`].
    pub max_age_ms: u32,
    /// Whether the answer is a list, even if of one.
    pub is_batch: bool,
}

/// A question that was not understood, and what to tell its sender.
#[derive(Debug, PartialEq, Eq)]
pub struct Misunderstood {
    /// Its kind.
    pub problem: Problem,
    /// What to do about it.
    pub detail: String,
}

impl Question<'_> {
    /// A question that outlives the request it came in.
    pub fn into_owned(self) -> Question<'static> {
        let owned = |asset: Cow<'_, str>| Cow::Owned(asset.into_owned());
        Question {
            assets: self.assets.into_iter().map(owned).collect(),
            max_age_ms: self.max_age_ms,
            is_batch: self.is_batch,
        }
    }
}

impl<'a> From<PriceQuery<'a>> for Question<'a> {
    fn from(query: PriceQuery<'a>) -> Self {
        Self {
            assets: vec![query.asset],
            max_age_ms: query.max_age_ms,
            is_batch: false,
        }
    }
}

impl<'a> From<BatchQuery<'a>> for Question<'a> {
    fn from(query: BatchQuery<'a>) -> Self {
        Self {
            assets: query.assets,
            max_age_ms: query.max_age_ms,
            is_batch: true,
        }
    }
}

impl<'a> PriceQuery<'a> {
    /// Reads a query string. Every parameter may come once; others than these are refused,
    /// for a misspelt `max_age_ms` would otherwise be a silent mistake about money.
    pub fn parse(query: Option<&'a str>) -> Result<Self, Misunderstood> {
        let bad = |detail: String| Misunderstood {
            problem: Problem::BadQuery,
            detail,
        };
        let (mut asset, mut max_age_ms) = (None, None);
        for (name, value) in pairs(query) {
            let (Some(name), Some(value)) = (decode(name), decode(value)) else {
                return Err(bad(
                    "The query string is not UTF-8, percent-encoded: encode it and ask again.".into(),
                ));
            };
            match name.as_ref() {
                "asset" | "symbol" if asset.is_some() => {
                    return Err(bad(
                        "Name one asset, once, as asset= or symbol=; POST /prices takes many.".into(),
                    ));
                }
                "asset" | "symbol" => asset = Some(value),
                "max_age_ms" => {
                    let number = value.parse().ok().filter(|_| max_age_ms.is_none());
                    max_age_ms = Some(number.ok_or_else(|| {
                        bad("Give max_age_ms once, as whole milliseconds from 0 to 4294967295.".into())
                    })?);
                }
                other => {
                    return Err(bad(format!(
                        "GET /price takes asset (or symbol) and max_age_ms; it does not know {:?}.",
                        clip(other)
                    )));
                }
            }
        }
        let asset = asset
            .filter(|asset| !asset.is_empty())
            .ok_or_else(|| bad("Name an asset, for example /price?asset=btc.".into()))?;
        Ok(Self {
            asset,
            max_age_ms: max_age_ms.unwrap_or(0),
        })
    }
}

impl<'a> BatchQuery<'a> {
    /// Reads a body.
    pub fn parse(body: &'a [u8]) -> Result<Self, Misunderstood> {
        let batch: Self = serde_json::from_slice(body).map_err(|error| Misunderstood {
            problem: Problem::BadBody,
            detail: format!(
                "Send JSON like {{\"assets\":[\"btc\",\"ETH-USD\"],\"max_age_ms\":5000}}: {}.",
                clip(&error.to_string())
            ),
        })?;
        match batch.assets.len() {
            0 => Err(Misunderstood {
                problem: Problem::NoAssets,
                detail: format!("Name 1 to {HTTP_ASSETS} assets."),
            }),
            1..=HTTP_ASSETS => Ok(batch),
            many => Err(Misunderstood {
                problem: Problem::TooManyAssets,
                detail: format!("{many} assets were named; ask for at most {HTTP_ASSETS} at a time."),
            }),
        }
    }
}

/// Whether a query string seems to carry an API key. Its parts are looked at both as they
/// are and decoded; nothing of them is kept.
pub fn carries_key(query: Option<&str>) -> bool {
    const NAMES: [&str; 10] = [
        "key",
        "api_key",
        "api-key",
        "apikey",
        "x-api-key",
        "token",
        "access_token",
        "auth",
        "authorization",
        "bearer",
    ];
    let holds_key = |text: &str| text.contains(trinity_protocol::api_key::PREFIX);
    pairs(query).any(|(name, value)| {
        let (name, value) = (decode(name), decode(value));
        name.is_some_and(|name| NAMES.iter().any(|n| name.eq_ignore_ascii_case(n)) || holds_key(&name))
            || value.is_some_and(|value| holds_key(&value))
    }) || query.is_some_and(holds_key)
}

/// A text of the client's, short enough to be repeated to it.
pub fn clip(text: &str) -> &str {
    let end = text.char_indices().nth(80).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

fn pairs(query: Option<&str>) -> impl Iterator<Item = (&str, &str)> {
    query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Undoes `application/x-www-form-urlencoded` (WHATWG URL, section 5.1), but strictly: a
/// stray `%` or bytes that are no UTF-8 are `None`, not a guess.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                (digit()? << 4 | digit()?) as u8
            }
            other => other,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(text: &str) -> Result<(String, u32), Problem> {
        PriceQuery::parse(Some(text))
            .map(|q| (q.asset.into_owned(), q.max_age_ms))
            .map_err(|e| e.problem)
    }

    fn batch(text: &str) -> Result<(usize, u32), Problem> {
        BatchQuery::parse(text.as_bytes())
            .map(|b| (b.assets.len(), b.max_age_ms))
            .map_err(|e| e.problem)
    }

    #[test]
    fn an_asset_is_read_in_every_spelling_of_a_url() {
        assert_eq!(query("asset=btc"), Ok(("btc".into(), 0)));
        assert_eq!(query("symbol=BTC%2dUSD"), Ok(("BTC-USD".into(), 0)));
        assert_eq!(
            query("&max_age_ms=250&asset=XBT%2FUSD&"),
            Ok(("XBT/USD".into(), 250))
        );
        assert_eq!(query("asset=a+b"), Ok(("a b".into(), 0)));
    }

    #[test]
    fn a_query_that_is_not_understood_is_refused() {
        for text in [
            "",
            "asset=",
            "asset",
            "asset=btc&asset=eth",
            "asset=btc&symbol=btc",
            "asset=btc&max_age=5",
            "asset=btc&max_age_ms=",
            "asset=btc&max_age_ms=-1",
            "asset=btc&max_age_ms=4294967296",
            "asset=btc&max_age_ms=1&max_age_ms=1",
            "asset=%",
            "asset=%4",
            "asset=%zz",
            "asset=%ff%fe",
        ] {
            assert_eq!(query(text), Err(Problem::BadQuery), "{text}");
        }
        assert!(PriceQuery::parse(None).is_err());
    }

    #[test]
    fn a_key_in_the_query_is_seen_under_any_name() {
        for text in [
            "key=x",
            "asset=btc&API_KEY=x",
            "x=tb_live_1",
            "x=tb%5Flive%5F1",
            "tb_live_1",
            "%&tb_live_x",
            "%61piKey=1",
        ] {
            assert!(carries_key(Some(text)), "{text}");
        }
        for text in ["asset=btc", "asset=keys", "asset=KEY-USD&max_age_ms=1", ""] {
            assert!(!carries_key(Some(text)), "{text}");
        }
        assert!(!carries_key(None));
    }

    #[test]
    fn a_batch_names_one_to_a_hundred_assets() {
        let many = |n: usize| format!("{{\"assets\":[{}]}}", vec!["\"btc\""; n].join(","));
        assert_eq!(batch(&many(1)), Ok((1, 0)));
        assert_eq!(batch(&many(100)), Ok((100, 0)));
        assert_eq!(batch(&many(0)), Err(Problem::NoAssets));
        assert_eq!(batch(&many(101)), Err(Problem::TooManyAssets));
        assert_eq!(batch(r#" {"symbols":["\u0062tc"],"max_age_ms":7} "#), Ok((1, 7)));
    }

    #[test]
    fn a_body_that_is_not_understood_is_refused() {
        for text in [
            "",
            "null",
            "[]",
            "{}",
            "{\"assets\":\"btc\"}",
            "{\"assets\":[1]}",
            "{\"assets\":[null]}",
            "{\"assets\":[\"btc\"]",
            "{\"assets\":[\"btc\"]} x",
            "{\"assets\":[\"btc\"],\"max_age\":1}",
            "{\"assets\":[\"btc\"],\"max_age_ms\":-1}",
            "{\"assets\":[\"btc\"],\"max_age_ms\":1.5}",
            "{\"assets\":[\"btc\"],\"assets\":[\"btc\"]}",
        ] {
            assert_eq!(batch(text), Err(Problem::BadBody), "{text}");
        }
    }

    #[test]
    fn what_is_repeated_to_a_client_is_short() {
        let long = format!(
            "{{\"assets\":[\"btc\"],\"{}\":1}}",
            "\u{e9}\"".repeat(9).replace('"', "") + &"x".repeat(5_000)
        );
        let refused = BatchQuery::parse(long.as_bytes()).expect_err("unknown member");
        assert!(refused.detail.len() < 300);
        assert_eq!(clip("\u{e9}\u{e9}"), "\u{e9}\u{e9}");
    }

    proptest! {
        #[test]
        fn arbitrary_queries_never_panic(text in ".{0,200}", asset in "[a-zA-Z0-9/_%+&=.-]{0,40}") {
            let _ = PriceQuery::parse(Some(&text));
            let _ = carries_key(Some(&text));
            let _ = PriceQuery::parse(Some(&format!("asset={asset}")));
        }

        #[test]
        fn arbitrary_bodies_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            let _ = BatchQuery::parse(&bytes);
            let wrapped = [b"{\"assets\":[\"".as_slice(), &bytes, b"\"]}"].concat();
            let _ = BatchQuery::parse(&wrapped);
        }

        #[test]
        fn any_asset_survives_percent_encoding(asset in ".{1,40}") {
            let encoded: Vec<_> = asset.bytes().map(|b| format!("%{b:02x}")).collect();
            prop_assert_eq!(query(&format!("asset={}", encoded.concat())), Ok((asset, 0)));
        }
    }
}
