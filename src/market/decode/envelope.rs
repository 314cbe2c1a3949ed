//! What stands around a frame in its line.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::market::venue::time;

/// One line: a frame, and what is told of it.
pub(super) struct Entry<'a> {
    pub way: Way<'a>,
    /// Receive time, Unix nanoseconds.
    pub ts_ns: Option<u64>,
    pub venue: Option<Cow<'a, str>>,
    pub connection: Option<Cow<'a, str>>,
    /// Address of the connection or of the request.
    pub address: Option<Cow<'a, str>>,
    /// The REST request whose answer it is, as far as it is known.
    pub request: Option<Cow<'a, str>>,
    /// What a collection calls it.
    pub label: Option<Cow<'a, str>>,
    pub payload: Payload<'a>,
    /// The line is the frame, and nothing stands around it.
    pub bare: bool,
}

/// Which way a frame went.
pub(super) enum Way<'a> {
    Receive {
        /// It is the body of a REST answer.
        rest: bool,
    },
    Send,
    Connect,
    /// Something else that a recorder notes.
    Other(Cow<'a, str>),
    /// A recording's header, by its format's name.
    Header(Cow<'a, str>),
}

/// A frame's bytes.
pub(super) enum Payload<'a> {
    Text(Cow<'a, [u8]>),
    Base64(Cow<'a, str>),
    None,
}

/// Members of a line, unread: a bare frame may have members of these names with other meanings.
#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    t: Option<&'a RawValue>,
    #[serde(borrow)]
    ts: Option<&'a RawValue>,
    #[serde(borrow)]
    ts_ns: Option<&'a RawValue>,
    #[serde(borrow)]
    venue: Option<&'a RawValue>,
    #[serde(borrow)]
    conn: Option<&'a RawValue>,
    #[serde(borrow)]
    addr: Option<&'a RawValue>,
    #[serde(borrow)]
    url: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    b64: Option<&'a RawValue>,
    #[serde(borrow)]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    src: Option<&'a RawValue>,
    #[serde(borrow)]
    note: Option<&'a RawValue>,
    #[serde(borrow)]
    format: Option<&'a RawValue>,
    #[serde(borrow)]
    version: Option<&'a RawValue>,
}

impl<'a> Entry<'a> {
    /// A frame with nothing around it.
    pub(super) fn bare(text: &'a [u8]) -> Self {
        Self {
            way: Way::Receive { rest: false },
            ts_ns: None,
            venue: None,
            connection: None,
            address: None,
            request: None,
            label: None,
            payload: Payload::Text(text.into()),
            bare: true,
        }
    }
}

/// Reads a line; what is no envelope is a bare frame.
pub(super) fn read(text: &[u8]) -> Entry<'_> {
    let text = text.trim_ascii();
    let bare = Entry::bare(text);
    if !text.starts_with(b"{") {
        return bare;
    }
    let Ok(members) = serde_json::from_slice::<Members<'_>>(text) else {
        return bare;
    };
    recorded(&members)
        .or_else(|| collected(&members))
        .or_else(|| header(&members))
        .unwrap_or(bare)
}

/// A recorder's line: it has a time of receipt, and says which way the frame went or holds it.
fn recorded<'a>(members: &Members<'a>) -> Option<Entry<'a>> {
    let ts_ns = match (members.ts_ns, members.ts) {
        (Some(ns), _) => ns.get().parse().ok(),
        (None, Some(seconds)) => seconds_to_ns(seconds.get()),
        (None, None) => None,
    }?;
    let data = string(members.data).map(|data| Payload::Text(into_bytes(data)));
    let base64 = string(members.b64).map(Payload::Base64);
    let payload = data.or(base64).unwrap_or(Payload::None);
    let way = match string(members.t) {
        Some(word) => match word.as_ref() {
            "recv" => Way::Receive { rest: false },
            "http" => Way::Receive { rest: true },
            "send" => Way::Send,
            "connect" => Way::Connect,
            _ => Way::Other(word),
        },
        // Frames have times as well: without a way, ours must be the one in nanoseconds.
        None if members.ts_ns.is_some() && !matches!(payload, Payload::None) => Way::Receive { rest: false },
        None => return None,
    };
    let url = string(members.url);
    Some(Entry {
        way,
        ts_ns: Some(ts_ns),
        venue: string(members.venue),
        connection: string(members.conn),
        address: string(members.addr).or_else(|| url.clone()),
        request: url,
        label: None,
        payload,
        bare: false,
    })
}

/// A line of a collection of messages: its kind and where it was found.
fn collected<'a>(members: &Members<'a>) -> Option<Entry<'a>> {
    let label = string(members.kind)?;
    let data = string(members.data)?;
    let src = string(members.src);
    if src.is_none() && string(members.note).is_none() {
        return None;
    }
    // `testdata/http.json GET /api/v2/ticker/btcusd/?`
    let request = src.and_then(|src| {
        let (_, request) = src.split_once(" GET ")?;
        Some(Cow::Owned(request.to_owned()))
    });
    Some(Entry {
        way: Way::Receive { rest: false },
        ts_ns: None,
        venue: string(members.venue),
        connection: None,
        address: None,
        request,
        label: Some(label),
        payload: Payload::Text(into_bytes(data)),
        bare: false,
    })
}

fn header<'a>(members: &Members<'a>) -> Option<Entry<'a>> {
    let format = string(members.format).filter(|format| format.starts_with("trinity-"))?;
    members.version?;
    Some(Entry {
        way: Way::Header(format),
        bare: false,
        payload: Payload::None,
        ..Entry::bare(b"")
    })
}

fn string(value: Option<&RawValue>) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    let text: Text<'_> = serde_json::from_str(value?.get()).ok()?;
    Some(text.0)
}

fn into_bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// Decimal seconds, exactly as they are written.
fn seconds_to_ns(text: &str) -> Option<u64> {
    time::unix_seconds(text.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<'a>(entry: &'a Entry<'_>) -> &'a str {
        match &entry.payload {
            Payload::Text(bytes) => std::str::from_utf8(bytes).expect("text"),
            Payload::Base64(text) => text,
            Payload::None => "",
        }
    }

    #[test]
    fn an_envelope_is_opened_and_its_time_is_exact() {
        let entry = read(
            br#"{"t":"recv","conn":"KRAKEN.ws.1","ts":1617654357.390381,"data":"{\"event\":\"heartbeat\"}"}"#,
        );
        assert!(matches!(entry.way, Way::Receive { rest: false }));
        assert_eq!(entry.ts_ns, Some(1_617_654_357_390_381_000));
        assert_eq!(entry.connection.as_deref(), Some("KRAKEN.ws.1"));
        assert_eq!(text(&entry), r#"{"event":"heartbeat"}"#);
        let entry = read(br#"{"ts_ns":5,"venue":"okx","b64":"AA=="}"#);
        assert_eq!((entry.ts_ns, entry.venue.as_deref()), (Some(5), Some("okx")));
        assert!(matches!(entry.payload, Payload::Base64(_)));
        let entry = read(br#"{"t":"http","ts":1,"url":"https://a/b","data":"[]"}"#);
        assert!(matches!(entry.way, Way::Receive { rest: true }));
        assert_eq!(entry.request.as_deref(), Some("https://a/b"));
        assert!(matches!(
            read(br#"{"t":"connect","ts":1,"addr":"wss://a"}"#).way,
            Way::Connect
        ));
        assert!(
            matches!(read(br#"{"t":"lost","ts_ns":1,"frames":12}"#).way, Way::Other(word) if word == "lost")
        );
        assert!(
            matches!(read(br#"{"format":"trinity-raw-recording","version":1}"#).way, Way::Header(name) if name == "trinity-raw-recording")
        );
    }

    #[test]
    fn a_labelled_message_gives_its_label_and_its_request() {
        let entry = read(br#"{"kind":"ticker","src":"a/http.json GET /api/v2/ticker/btcusd/?","data":"{}"}"#);
        assert_eq!(entry.label.as_deref(), Some("ticker"));
        assert_eq!(entry.request.as_deref(), Some("/api/v2/ticker/btcusd/?"));
        assert_eq!(text(&entry), "{}");
    }

    #[test]
    fn frames_that_look_a_little_like_an_envelope_are_frames() {
        for frame in [
            r#"{"topic":"tickers.BTCUSDT","ts":1673853746003,"type":"snapshot","data":{"symbol":"BTCUSDT"}}"#,
            r#"{"event":"bts:request_reconnect","channel":"","data":""}"#,
            r#"{"stream":"a@b","data":{"t":1,"ts":2}}"#,
            r#"{"kind":"x","data":"y"}"#,
            r#"{"format":"json","version":1}"#,
            r#"{"ts_ns":1}"#,
            r#"{"data":1,"data":2}"#,
            r#"[340,{"a":[]},"ticker","XBT/USD"]"#,
            "pong",
            r#"{"t":"recv","ts":1,"da"#,
        ] {
            let entry = read(frame.as_bytes());
            assert!(entry.bare, "{frame}");
            assert_eq!(text(&entry), frame);
        }
    }
}
