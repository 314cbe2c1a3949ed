//! Names inside messages and addresses: whatever an instrument is called, it stays one word there.
//!
//! Spellings come from the operator's table. One with a quotation mark or a slash in it must be
//! an instrument that the venue refuses, not another message or another path.

use std::fmt::Write as _;

/// A JSON string, with its quotation marks.
pub(super) fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A JSON array of strings.
pub(super) fn json_list(texts: impl IntoIterator<Item = String>) -> String {
    let texts: Vec<String> = texts.into_iter().collect();
    serde_json::Value::from(texts).to_string()
}

/// One segment of a path, or one value of a query: everything but RFC 3986's unreserved
/// characters is percent-encoded.
pub(super) fn url_part(text: &str) -> String {
    let mut part = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            part.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(part, "%{byte:02X}");
        }
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_name_stays_as_it_is() {
        for name in ["BTC_USDT", "btcusd", "BTCUSD-PERP", "1INCH.X~"] {
            assert_eq!(url_part(name), name);
            assert_eq!(json(name), format!("\"{name}\""));
        }
        assert_eq!(json_list(["a".to_owned(), "b".to_owned()]), r#"["a","b"]"#);
    }

    #[test]
    fn no_name_ends_the_word_it_stands_in() {
        assert_eq!(
            url_part("../a?b=c&d e#\r\n%\u{e9}"),
            "..%2Fa%3Fb%3Dc%26d%20e%23%0D%0A%25%C3%A9"
        );
        assert_eq!(json("a\",\"b\\\n"), r#""a\",\"b\\\n""#);
        let list = json_list(["\"],\"x\":[\"".to_owned()]);
        let back: Vec<String> = serde_json::from_str(&list).expect("a list");
        assert_eq!(back, ["\"],\"x\":[\""]);
    }
}
