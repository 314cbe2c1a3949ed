//! Reads a plain head: strictly less than what hyper takes, so that whatever is read here would
//! have been read by hyper the same. Everything else is [`Read::Other`], which is for hyper.

use trinity_protocol::ApiKey;

use super::super::bearer_token;
use crate::limits::{HTTP_PLAIN_HEAD_BYTES, HTTP_PLAIN_HEADERS};

/// What the beginning of some bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read<'a> {
    /// A request line up to its query's end; what follows begins with ` HTTP/1.1`, or may do so.
    Line { query: &'a str, rest: &'a [u8] },
    /// The beginning of such a line.
    Partial,
    /// Something else, or too long.
    Other,
}

/// What a whole head is.
#[derive(Debug)]
pub(super) enum Head {
    /// A plain one, so long, that presents this key.
    Plain { length: usize, key: ApiKey },
    /// The beginning of one.
    Partial,
    /// Something else, or too long.
    Other,
}

const START: &[u8] = b"GET /price?";

/// Bytes that a query may hold here: fewer than [`http::Uri`] allows.
const QUERY_BYTES: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        allowed[byte] = b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'-' | b'.' | b'_' | b'~' | b'%' | b'&' | b'=' | b'+' | b'/' | b':' | b','
            );
        byte += 1;
    }
    allowed
};

/// Reads the method, the path and the query.
pub(super) fn read_line(bytes: &[u8]) -> Read<'_> {
    let Some(after) = bytes.strip_prefix(START) else {
        return if START.starts_with(bytes) {
            Read::Partial
        } else {
            Read::Other
        };
    };
    let length = after.iter().position(|byte| !QUERY_BYTES[usize::from(*byte)]);
    match length.map(|length| after.split_at(length)) {
        None if after.len() < HTTP_PLAIN_HEAD_BYTES => Read::Partial,
        Some((query, rest)) if rest[0] == b' ' => match std::str::from_utf8(query) {
            Ok(query) => Read::Line { query, rest },
            Err(_) => Read::Other,
        },
        _ => Read::Other,
    }
}

/// Reads a whole head, of which [`read_line`] has read the line.
pub(super) fn read_head(bytes: &[u8]) -> Head {
    let mut fields = [httparse::EMPTY_HEADER; HTTP_PLAIN_HEADERS];
    let mut head = httparse::Request::new(&mut fields);
    let length = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= HTTP_PLAIN_HEAD_BYTES => length,
        Ok(httparse::Status::Partial) if bytes.len() < HTTP_PLAIN_HEAD_BYTES => return Head::Partial,
        _ => return Head::Other,
    };
    // Lines may end without a carriage return for hyper, but who sends such is looked at there.
    let is_strict = bytes[..length]
        .windows(2)
        .all(|two| two[1] != b'\n' || two[0] == b'\r');
    if head.version != Some(1) || !is_strict {
        return Head::Other;
    }
    match presented(head.headers) {
        Some(key) => Head::Plain { length, key },
        None => Head::Other,
    }
}

/// The one key that fields present, if there is one and they ask for nothing else.
fn presented(fields: &[httparse::Header<'_>]) -> Option<ApiKey> {
    let mut presented = None;
    for field in fields {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        let token = if is("authorization") {
            bearer_token(field.value)?
        } else if is("x-api-key") {
            field.value
        } else if is("connection") {
            if !field.value.eq_ignore_ascii_case(b"keep-alive") {
                return None;
            }
            continue;
        } else if FOR_HYPER.iter().any(|name| is(name)) {
            return None;
        } else {
            continue;
        };
        if presented.replace(token).is_some() {
            return None;
        }
    }
    std::str::from_utf8(presented?).ok()?.parse().ok()
}

/// Fields that say something about the message or the connection.
const FOR_HYPER: [&str; 9] = [
    "content-length",
    "transfer-encoding",
    "expect",
    "upgrade",
    "te",
    "trailer",
    "keep-alive",
    "proxy-connection",
    "http2-settings",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> String {
        ApiKey::from_parts(1, [1; 32])
            .expect("in range")
            .expose()
            .to_string()
    }

    fn is_plain(head: &str) -> bool {
        matches!(read_line(head.as_bytes()), Read::Line { .. })
            && matches!(read_head(head.as_bytes()), Head::Plain { length, .. } if length == head.len())
    }

    #[test]
    fn a_plain_head_is_read_however_its_key_is_presented() {
        let key = key();
        for fields in [
            format!("X-API-Key: {key}\r\n"),
            format!("x-api-key:{key}  \r\n"),
            format!("Host: x\r\nAuthorization: BEARER  {key}\r\nAccept: */*\r\nConnection: Keep-Alive\r\n"),
        ] {
            assert!(
                is_plain(&format!("GET /price?asset=btc HTTP/1.1\r\n{fields}\r\n")),
                "{fields}"
            );
        }
    }

    #[test]
    fn whatever_says_more_is_left_to_hyper() {
        let key = key();
        for fields in [
            "Content-Length: 0",
            "Transfer-Encoding: chunked",
            "Expect: 100-continue",
            "Upgrade: h2c",
            "Connection: close",
            "Connection: keep-alive, upgrade",
            "TE: trailers",
            "X-API-Key: tb_live_1",
            "Authorization: Basic eDp5",
            "A: 1\r\n folded: 2",
            "A: 1\nB: 2",
            "A : 1",
            "no colon",
            "A: \0",
        ] {
            let head = format!("GET /price?asset=btc HTTP/1.1\r\nX-API-Key: {key}\r\n{fields}\r\n\r\n");
            assert!(!is_plain(&head), "{fields}");
        }
        for line in [
            "GET /price?asset=btc HTTP/1.0",
            "GET /price?asset=btc HTTP/1.1\n",
            "GET /price?asset=btc  HTTP/1.1",
            "GET /price?asset=b\u{e9} HTTP/1.1",
            "GET /price?asset=btc#x HTTP/1.1",
            "HEAD /price?asset=btc HTTP/1.1",
            "GET /prices?asset=btc HTTP/1.1",
            "GET http://x/price?asset=btc HTTP/1.1",
            "\r\nGET /price?asset=btc HTTP/1.1",
        ] {
            assert!(
                !is_plain(&format!("{line}\r\nX-API-Key: {key}\r\n\r\n")),
                "{line:?}"
            );
        }
        let many = "A: 1\r\n".repeat(HTTP_PLAIN_HEADERS);
        let long = format!("A: {}\r\n", "a".repeat(HTTP_PLAIN_HEAD_BYTES));
        for fields in [many, long] {
            let head = format!("GET /price?asset=btc HTTP/1.1\r\nX-API-Key: {key}\r\n{fields}\r\n");
            assert!(!is_plain(&head));
        }
    }

    #[test]
    fn half_a_plain_head_is_waited_for_and_nothing_longer() {
        let head = format!("GET /price?asset=btc HTTP/1.1\r\nX-API-Key: {}\r\n\r\n", key());
        for length in 0..head.len() {
            let part = &head.as_bytes()[..length];
            let waits = match read_line(part) {
                Read::Line { .. } => matches!(read_head(part), Head::Partial),
                line => line == Read::Partial,
            };
            assert!(waits, "{length}");
        }
        let endless = format!("GET /price?asset={}", "a".repeat(HTTP_PLAIN_HEAD_BYTES));
        assert_eq!(read_line(endless.as_bytes()), Read::Other);
        let endless = format!(
            "GET /price?asset=btc HTTP/1.1\r\nA: {}",
            "a".repeat(HTTP_PLAIN_HEAD_BYTES)
        );
        assert!(matches!(read_head(endless.as_bytes()), Head::Other));
    }
}
