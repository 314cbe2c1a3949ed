//! Where a collection's label and the message itself are of two minds.

/// Whether a label that does not name the event's kind is explained by the message.
pub(crate) fn explain(venue: &str, label: &str, frame: &str, kind: &str) -> bool {
    let has = |text: &str| frame.contains(text);
    match (venue, label, kind) {
        // Gemini answers a ping as it answers a subscription.
        ("gemini", "heartbeat/status", "ack") => has(r#"{"id":100,"status":200}"#),
        // Auctions are no tickers; initial changes are the book.
        ("gemini", "ticker", "ignored") => has("auction_indicative"),
        ("gemini", "ticker", "book") => has(r#""reason": "initial""#),
        // Market data of version 1, where only the connection's address names the symbol.
        ("gemini", "trade", "ignored") => has(r#""update""#) && !has(r#""symbol""#),
        // Messages that do not name their kind.
        ("gemini", "other", "quote") => has(r#""B""#) && has(r#""A""#),
        ("gemini", "other", "trade") => has(r#""t""#) && has(r#""p""#),
        // A book ticker is best bid and ask.
        ("gate", "book", "quote") => has("book_ticker"),
        // Their books lie in a `result`, or hold one of an auction.
        ("gemini" | "gate" | "cryptocom", "book", "book") => has(r#""result":"#),
        _ => false,
    }
}
