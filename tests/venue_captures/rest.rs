//! REST answers that were really given, by their label or by their address.

use trinity_beast::market::decimal::Decimal;
use trinity_beast::market::venue::{Event, Parser, VenueId};

use super::{Random, files, lines, shared_data};

/// What the venues here label their answers with, and how many there are at least.
const VENUES: &[(&str, usize)] = &[("gemini", 17), ("cryptocom", 4), ("gate", 19)];

/// One answer: label, instrument asked for, body.
struct Answer {
    label: String,
    asked: Option<String>,
    body: String,
}

#[test]
fn rest_answers_are_what_their_label_or_address_says() {
    let Some(root) = shared_data() else { return };
    let mut parser = Parser::new();
    for (name, at_least) in VENUES {
        let venue = VenueId::from_name(name).expect("a venue of the table");
        let answers = answers(&root.join(name));
        assert!(answers.len() >= *at_least, "{name}: {} answers", answers.len());
        for Answer { label, asked, body } in answers {
            let mut kinds = Vec::new();
            let result = parser.parse_rest(venue, body.as_bytes(), asked.as_deref(), &mut |event| {
                match event {
                    Event::Quote(quote) => {
                        assert!(
                            asked.as_deref().is_none_or(|asked| quote.instrument == asked),
                            "{name}: {quote:?}"
                        );
                    }
                    Event::Trade(trade) => assert!(trade.snapshot, "{name}: {trade:?}"),
                    _ => {}
                }
                kinds.push(event.kind());
            });
            assert_eq!(result, Ok(()), "{name} {label}: {body:.300}");
            let expected = match label.as_str() {
                "ticker" => "quote",
                // Rules of markets, kept under a trade's label.
                "trade" if body.contains(r#""pairs""#) => "ignored",
                "trade" => "trade",
                "book" => "book",
                "error" => "error",
                _ => "ignored",
            };
            assert!(
                !kinds.is_empty() && kinds.iter().all(|kind| *kind == expected),
                "{name} {label} gave {kinds:?}: {body:.300}"
            );
        }
    }
}

#[test]
fn damaged_rest_answers_never_panic_and_never_give_a_price_at_or_below_zero() {
    let Some(root) = shared_data() else { return };
    let mut parser = Parser::new();
    let mut random = Random(0x5eed_0002);
    for (name, _) in VENUES {
        let venue = VenueId::from_name(name).expect("a venue of the table");
        for answer in answers(&root.join(name)) {
            let original = &answer.body.as_bytes()[..answer.body.len().min(2_000)];
            for _ in 0..200 {
                let mut body = original.to_vec();
                for _ in 0..=random.below(3) {
                    let at = random.below(body.len());
                    body[at] = random.below(256) as u8;
                }
                let mut check = |event: Event<'_>| match event {
                    Event::Quote(quote) => {
                        let prices = [quote.bid, quote.ask, quote.last];
                        assert!(prices.iter().any(Option::is_some));
                        assert!(prices.iter().flatten().all(|price| *price > Decimal::ZERO));
                        assert!(!quote.instrument.is_empty());
                    }
                    Event::Trade(trade) => assert!(trade.price > Decimal::ZERO),
                    _ => {}
                };
                let _ = parser.parse_rest(venue, &body, answer.asked.as_deref(), &mut check);
                let _ = parser.parse(venue, &body, &mut check);
            }
        }
    }
}

fn answers(folder: &std::path::Path) -> Vec<Answer> {
    files(&folder.join("rest"))
        .iter()
        .flat_map(|file| lines(file))
        .filter_map(|line| {
            let body = line["data"]
                .as_str()
                .or_else(|| line["body"].as_str())?
                .to_owned();
            let address = line["url"].as_str().or_else(|| line["src"].as_str())?;
            let label =
                line["kind"]
                    .as_str()
                    .unwrap_or(if address.contains("book") { "book" } else { "other" });
            Some(Answer {
                label: label.to_owned(),
                asked: asked(address, &body),
                body,
            })
        })
        .collect()
}

/// The instrument in an address: a value of its query, or the last part of its path. Answers of
/// version 2 of Gate's and of one trade name none and were collected without their address.
fn asked(address: &str, body: &str) -> Option<String> {
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    if let Some(pair) = query
        .split('&')
        .find_map(|parameter| parameter.strip_prefix("currency_pair="))
    {
        return Some(pair.to_owned());
    }
    if path.contains("/v1/") || path.contains("/v2/ticker") {
        return path.rsplit('/').next().map(str::to_lowercase);
    }
    let nameless = body.contains("tradeID") || body.contains("sequence_id");
    nameless.then(|| "BTC_USDT".to_owned())
}
