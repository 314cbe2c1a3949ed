//! Recordings on disk: what is read, how it is paced, and what damage costs.

mod support;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::{Compression, write::GzEncoder};
use trinity_beast::market::recording::{MAX_LINE_BYTES, Recording};
use trinity_beast::market::replay::{Player, Speed, Step};
use trinity_beast::market::venue::VenueId;
use trinity_beast::market::{AggregatedPrice, SymbolId};
use trinity_protocol::PriceStatus;

const HEADER: &str = r#"{"format":"trinity-recording","version":1,"title":"test","origin":"made up","max_age_ms":10000,"hard_age_ms":60000,"columns":["time_ms","venue","market","bid","ask","price","confidence"]}"#;
const T0_MS: u64 = 1_700_000_000_000;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().expect("it has a folder")).expect("a folder");
        std::fs::write(&path, bytes).expect("written");
        path
    }
}

fn rows(lines: &[&str]) -> String {
    let mut text = String::from(HEADER);
    for line in lines {
        text.push('\n');
        text.push_str(line);
    }
    text.push('\n');
    text
}

/// Forty seconds of two venues.
fn plain_rows() -> Vec<String> {
    (0..40)
        .map(|second| {
            let at = T0_MS + second * 1_000;
            if second % 2 == 0 {
                format!("{at},coinbase,BTC-USD,,,{},", 20_000 + second)
            } else {
                format!("{at},kraken,XBT/USD,{},{},,", 20_000 + second, 20_001 + second)
            }
        })
        .collect()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).expect("memory");
    encoder.finish().expect("memory")
}

fn player(path: &Path) -> Player {
    let recording = Recording::open(path).unwrap_or_else(|error| panic!("{error}"));
    Player::new(recording, Speed::Fast, false).unwrap_or_else(|error| panic!("{error}"))
}

fn play(player: &mut Player) -> Vec<(SymbolId, AggregatedPrice)> {
    let mut published = Vec::new();
    while player
        .step(&mut |symbol, price| published.push((symbol, *price)))
        .expect("it plays on")
        != Step::Over
    {}
    published
}

/// A hash of every field of everything published, in order.
fn digest(published: &[(SymbolId, AggregatedPrice)]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for (symbol, price) in published {
        hasher.update(&symbol.0.to_le_bytes());
        hasher.update(&price.mantissa.to_le_bytes());
        hasher.update(&price.confidence.to_le_bytes());
        hasher.update(&price.publish_time_ns.to_le_bytes());
        hasher.update(&[
            price.exponent as u8,
            price.status as u8,
            price.venues_used,
            price.flags.0,
        ]);
        hasher.update(&price.sequence.to_le_bytes());
    }
    hasher.finalize()
}

fn refusal(path: &Path) -> String {
    Recording::open(path)
        .and_then(|recording| Player::new(recording, Speed::Fast, false))
        .map(|_| ())
        .expect_err("it cannot be played")
        .to_string()
}

#[test]
fn the_same_recording_gives_the_same_bytes_at_every_speed_and_on_every_run() {
    let fast = digest(&play(
        &mut Player::new(Recording::shipped(), Speed::Fast, false).expect("it plays"),
    ));
    let again = digest(&play(
        &mut Player::new(Recording::shipped(), Speed::Fast, false).expect("it plays"),
    ));
    assert_eq!(fast, again);
    // A driver that looks in at its own uneven pace, on a clock of its own.
    for (speed, pace_ns) in [
        ("1000x", 7_777_777),
        ("60x", 1_300_000_000),
        ("1x", 90_000_000_000),
    ] {
        let mut player =
            Player::new(Recording::shipped(), speed.parse().expect("a speed"), false).expect("it plays");
        let mut wall_ns = 5_000_000_000_000;
        player.start(wall_ns);
        let mut published = Vec::new();
        while player
            .play_until(wall_ns, &mut |symbol, price| published.push((symbol, *price)))
            .expect("it plays on")
            .is_some()
        {
            wall_ns += pace_ns;
        }
        assert_eq!(digest(&published), fast, "{speed}");
    }
}

#[test]
fn steps_are_due_when_the_recording_says_divided_by_the_speed() {
    let folder = Folder::new();
    let lines = [
        format!("{T0_MS},coinbase,BTC-USD,,,20000,"),
        format!("{},coinbase,BTC-USD,,,20001,", T0_MS + 6_000),
    ];
    let path = folder.write("a.csv", rows(&[&lines[0], &lines[1]]));
    let recording = Recording::open(&path).expect("a recording");
    let mut player = Player::new(recording, "60x".parse().expect("a speed"), false).expect("it plays");
    player.start(1_000);
    assert_eq!(player.next_due(), Some(1_000), "the first at once");
    let mut published = 0;
    assert_eq!(
        player
            .play_until(1_000, &mut |_, _| published += 1)
            .expect("it plays"),
        Some(100_001_000)
    );
    assert_eq!(published, 1);
    assert_eq!(
        player.recorded_time(50_001_000),
        (T0_MS + 3_000) * 1_000_000,
        "the clock goes on between records"
    );
    assert_eq!(
        player.recorded_time(90_000_001_000),
        (T0_MS + 6_000) * 1_000_000,
        "but not past the next"
    );
    assert_eq!(
        player
            .play_until(100_000_999, &mut |_, _| published += 1)
            .expect("it plays"),
        Some(100_001_000)
    );
    assert_eq!(published, 1, "not a nanosecond early");
    player
        .play_until(100_001_000, &mut |_, _| published += 1)
        .expect("it plays");
    assert_eq!(published, 2);
}

#[test]
fn plain_gzip_csv_and_json_rows_are_the_same_recording() {
    let folder = Folder::new();
    let lines = plain_rows();
    let text = rows(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    let plain = play(&mut player(&folder.write("a.csv", &text)));
    assert_eq!(play(&mut player(&folder.write("b.gz", gzip(&text)))), plain);
    let crlf = text.replace('\n', "\r\n");
    assert_eq!(play(&mut player(&folder.write("c.csv", crlf))), plain);
    let mut json = String::from(HEADER);
    for line in &lines {
        let fields: Vec<_> = line.split(',').collect();
        let side = |name: &str, text: &str| {
            if text.is_empty() {
                String::new()
            } else {
                format!(r#","{name}":{text}"#)
            }
        };
        write!(
            json,
            "\n{{\"time_ms\":{},\"venue\":\"{}\",\"market\":\"{}\"{}{}{}}}",
            fields[0],
            fields[1],
            fields[2],
            side("bid", fields[3]),
            side("ask", fields[4]),
            side("price", fields[5]),
        )
        .expect("memory");
    }
    assert_eq!(play(&mut player(&folder.write("d.jsonl", json))), plain);
    assert!(plain.iter().any(|(_, price)| price.status == PriceStatus::Live));
}

#[test]
fn a_damaged_line_is_named_skipped_and_counted_and_the_rest_plays() {
    let folder = Folder::new();
    let good = plain_rows();
    let clean = play(&mut player(&folder.write(
        "a.csv",
        rows(&good.iter().map(String::as_str).collect::<Vec<_>>()),
    )));
    let damage = [
        "1700000000500,coinbase,BTC-USD,,,20x00,",
        "1700000000500,coinbase,BTC-USD,,,20000",
        "1700000000500,mtgox,BTC-USD,,,20000,",
        "soon,coinbase,BTC-USD,,,20000,",
        ",coinbase,BTC-USD,,,20000,",
        "{\"time_ms\":1700000000500,",
        "{\"time_ms\":1700000000500,\"venue\":\"coinbase\",\"market\":\"BTC-USD\",\"price\":[1]}",
        "99999999999999999999,coinbase,BTC-USD,,,20000,",
        // Times that would drag the clock: decades ahead, and decades behind.
        "2700000000000,coinbase,BTC-USD,,,1,",
        "1000000000000,coinbase,BTC-USD,,,1,",
    ];
    let mut bytes = HEADER.as_bytes().to_vec();
    for (i, line) in good.iter().enumerate() {
        bytes.extend(format!("\n{line}").bytes());
        if let Some(damage) = damage.get(i) {
            bytes.extend(format!("\n{damage}").bytes());
        }
    }
    bytes.extend(b"\n\xff\xfe\n\n");
    bytes.extend(format!("{},kraken,XBT/USD,2", T0_MS + 40_000).bytes());
    let mut player = player(&folder.write("b.csv", bytes));
    assert_eq!(play(&mut player), clean);
    let stats = player.stats();
    assert_eq!(stats.damaged, 12, "{:?}", stats.named);
    let lines: Vec<_> = stats.named.iter().map(|(line, _)| *line).collect();
    for (i, damage) in damage.iter().enumerate() {
        assert!(lines.contains(&(3 + 2 * i as u64)), "{damage}: {:?}", stats.named);
    }
    assert!(stats.named.iter().any(|(_, problem)| problem.contains("20x00")));
    assert!(stats.named.iter().any(|(_, problem)| problem.contains("mtgox")));
    assert!(stats.named.iter().any(|(_, problem)| problem.contains("cut off")));
}

#[test]
fn many_damaged_lines_are_counted_but_only_the_first_are_named() {
    let folder = Folder::new();
    let mut text = rows(&[&format!("{T0_MS},coinbase,BTC-USD,,,20000,")]);
    text.push_str(&"nonsense\n".repeat(100_000));
    let mut player = player(&folder.write("a.csv", text));
    play(&mut player);
    assert_eq!(
        (player.stats().damaged, player.stats().named.len()),
        (100_000, 20)
    );
}

#[test]
fn a_real_pause_in_a_recording_is_played_over() {
    let folder = Folder::new();
    let text = rows(&[
        &format!("{T0_MS},coinbase,BTC-USD,,,20000,"),
        &format!("{},coinbase,BTC-USD,,,30000,", T0_MS + 86_400_000 * 4),
        &format!("{},coinbase,BTC-USD,,,30001,", T0_MS + 86_400_000 * 4 + 1_000),
    ]);
    let mut player = player(&folder.write("a.csv", text));
    let seen: Vec<_> = play(&mut player)
        .iter()
        .map(|(_, price)| (price.status, price.mantissa / 100_000_000))
        .collect();
    let thin = PriceStatus::Thin;
    let (stale, none) = (PriceStatus::Stale, PriceStatus::NoPrice);
    assert_eq!(
        seen,
        [
            (thin, 20_000),
            (stale, 20_000),
            (none, 0),
            (thin, 30_000),
            (thin, 30_001),
            (stale, 30_001),
            (none, 0)
        ]
    );
    assert_eq!(player.stats().damaged, 0);
}

#[test]
fn a_gzip_file_that_breaks_off_is_played_as_far_as_it_reads_and_says_so() {
    let folder = Folder::new();
    // Prices that do not compress, so that half the file is about half the lines.
    let lines: Vec<_> = (0..5_000_u64)
        .map(|i| {
            format!(
                "{},coinbase,BTC-USD,,,20{:03}.{},",
                T0_MS + i * 10,
                i * 7_919 % 1_000,
                i * 104_729 % 9_973
            )
        })
        .collect();
    let whole = gzip(&rows(&lines.iter().map(String::as_str).collect::<Vec<_>>()));
    let mut player = player(&folder.write("a.csv.gz", &whole[..whole.len() / 2]));
    let published = play(&mut player);
    let stats = player.stats();
    assert!((1_000..4_000).contains(&stats.quotes), "{stats:?}");
    assert!(published.len() as u64 >= stats.quotes / 2);
    assert_eq!(stats.damaged, 0, "the half line is not played as a whole one");
    let at = format!("at line {}", stats.lines + 2);
    assert!(
        stats
            .broken_off
            .as_ref()
            .is_some_and(|told| told.starts_with(&at)),
        "{stats:?}"
    );
}

#[test]
fn an_endless_line_is_skipped_without_being_kept() {
    let folder = Folder::new();
    let mut text = rows(&[&format!("{T0_MS},coinbase,BTC-USD,,,20000,")]);
    text.push_str(&"x".repeat(MAX_LINE_BYTES + 1));
    text.push('\n');
    writeln!(text, "{},coinbase,BTC-USD,,,20001,", T0_MS + 1).expect("memory");
    let mut player = player(&folder.write("a.csv.gz", gzip(&text)));
    assert_eq!(play(&mut player).len(), 4, "two prices, then stale, then none");
    assert_eq!((player.stats().damaged, player.stats().named[0].0), (1, 3));
}

#[test]
fn what_is_no_recording_is_refused_with_what_would_be_one() {
    let folder = Folder::new();
    let cases = [
        ("hello\nworld\n".to_owned(), "not a recording"),
        (String::new(), "not a recording"),
        (
            HEADER.replace("\"version\":1", "\"version\":2"),
            "this program reads version 1",
        ),
        (HEADER.replace("trinity-recording", "other"), "format is `other`"),
        (HEADER.replace("\"bid\"", "\"colour\""), "`colour` is no column"),
        (
            HEADER.replace("10000", "\"long\""),
            "the header is not understood",
        ),
        (HEADER.replace("10000", "70000"), "hard_age_ms"),
        (
            HEADER.replace("\"columns\"", "\"symbols\":[\"X-USD X\"],\"columns\""),
            "line 1, quote: is missing",
        ),
        (rows(&["junk", "more"]), "2 lines were damaged"),
    ];
    for (i, (text, expected)) in cases.iter().enumerate() {
        let refusal = refusal(&folder.write(&format!("{i}.csv"), text));
        assert!(refusal.contains(expected), "{refusal}");
    }
    assert!(refusal(&folder.0.path().join("missing.csv")).contains("cannot read the recording"));
    assert!(refusal(&folder.write("cut.gz", &gzip(HEADER)[..12])).contains("cannot read the recording"));
}

#[test]
fn a_recording_may_bring_symbols_of_its_own() {
    let folder = Folder::new();
    let header = HEADER.replace(
        "\"columns\"",
        "\"symbols\":[\"WIF-USD WIF USD -8 0.0001 1 1 1 500 500 - WIF coinbase=WIF-USD\"],\"columns\"",
    );
    let text = format!("{header}\n{T0_MS},coinbase,WIF-USD,,,0.85,\n");
    let mut player = player(&folder.write("a.csv", text));
    let wif = player.table().resolve("wif").expect("its own symbol");
    assert_eq!(
        player.table().symbol(wif).max_age_ms,
        10_000,
        "the header's ages stand above the row's"
    );
    let published = play(&mut player);
    assert_eq!(
        (published[0].0, published[0].1.mantissa, published[0].1.status),
        (wif, 85_000_000, PriceStatus::Live)
    );
}

#[test]
fn raw_frames_are_played_through_the_venues_parsers() {
    let folder = Folder::new();
    let text = concat!(
        r#"{"t":"connect","conn":"A","ts":1700000000.0,"addr":"wss://ws-feed.exchange.coinbase.com"}"#,
        "\n",
        r#"{"t":"send","conn":"A","ts":1700000000.1,"data":"{\"type\":\"subscribe\"}"}"#,
        "\n",
        r#"{"t":"recv","conn":"A","ts":1700000000.5,"data":"{\"type\":\"ticker\",\"sequence\":5,\"product_id\":\"BTC-USD\",\"price\":\"20000.5\",\"best_bid\":\"20000\",\"best_ask\":\"20001\",\"time\":\"2023-11-14T22:13:20.400000Z\"}"}"#,
        "\n",
        r#"{"t":"recv","conn":"A","ts":1700000000.6,"data":"{\"type\":\"ticker\",\"sequence\":6,\"product_id\":\"NONE-SUCH\",\"price\":\"1\",\"best_bid\":\"1\",\"best_ask\":\"1\"}"}"#,
        "\n",
        r#"{"t":"recv","conn":"A","ts":1700000000.7,"data":"{\"type\":\"ticker\",\"seq"}"#,
        "\n",
        r#"{"t":"recv","conn":"B","ts":1700000000.8,"data":"{}"}"#,
        "\n",
        r#"{"t":"connect","conn":"A","ts":1700000001.0,"addr":"wss://ws-feed.exchange.coinbase.com"}"#,
        "\n",
        r#"{"t":"recv","conn":"A","ts":1700000001.1,"data":"{\"type\":\"ticker\",\"sequence\":1,\"product_id\":\"BTC-USD\",\"price\":\"20002.5\",\"best_bid\":\"20002\",\"best_ask\":\"20003\",\"time\":\"2023-11-14T22:13:21.000000Z\"}"}"#,
        "\n",
    );
    let mut player = player(&folder.write("capture.jsonl", text));
    let published = play(&mut player);
    assert_eq!(published[0].1.mantissa, 2_000_050_000_000);
    assert_eq!(
        published[1].1.mantissa, 2_000_250_000_000,
        "the new connection counts anew"
    );
    assert_eq!(published[0].1.publish_time_ns, 1_700_000_000_500_000_000);
    let stats = player.stats();
    assert_eq!(
        (stats.quotes, stats.unknown_markets, stats.damaged),
        (2, 1, 2),
        "{stats:?}"
    );
}

#[test]
fn the_captures_of_the_venues_play() {
    for (path, venue, symbol, at_least) in [
        (
            "binance/captures/us-combined-2021-04-05.jsonl",
            "binance-us",
            "BTC-USD",
            100,
        ),
        (
            "binance/captures/spot-combined-2021-04-05.jsonl",
            "binance",
            "BTC-USDT",
            0,
        ),
        (
            "kraken/captures/v1-ws-ticker-2021-04-05.jsonl",
            "kraken",
            "BTC-USD",
            1,
        ),
        (
            "kraken/captures/v1-ws-trade-2021-04-05.jsonl",
            "kraken",
            "BTC-USD",
            1,
        ),
        (
            "coinbase/captures/advanced-trade-ws-2026-08-09.jsonl.gz",
            "coinbase",
            "BTC-USD",
            10,
        ),
        (
            "coinbase/captures/exchange-ws-2021-04-17.jsonl",
            "coinbase",
            "BTC-USD",
            0,
        ),
        ("bitstamp/captures/ws-2021-04-05.jsonl", "bitstamp", "XRP-USD", 0),
        ("okx/captures/v5-ws-2022-05-13.jsonl", "okx", "BTC-USDT", 1),
        ("okx/captures/v5-ws-conn1-2021-07-22.jsonl", "okx", "BTC-USDT", 0),
        (
            "okx/captures/v3-deflate-frames-2021-04-17.jsonl",
            "okx",
            "BTC-USDT",
            0,
        ),
        ("bybit/captures/v5-ws-2026-08-09.jsonl", "bybit", "BTC-USDT", 1),
        ("kucoin/captures/ws-2021-04-25.jsonl", "kucoin", "BTC-USDT", 0),
        ("gate/captures/v3-ws-2021-04-05.jsonl", "gate", "BTC-USDT", 0),
        ("gate/captures/v4-ws-2021-04-22.jsonl", "gate", "BTC-USDT", 0),
        (
            "cryptocom/captures/v2-market-2021-11-23.jsonl",
            "cryptocom",
            "BTC-USDT",
            0,
        ),
        (
            "gemini/captures/v2-marketdata-2021-04-17.jsonl",
            "gemini",
            "BTC-USD",
            0,
        ),
        (
            "gemini/captures/v2-marketdata-2026-08-09.jsonl",
            "gemini",
            "BTC-USD",
            0,
        ),
        (
            "market/binance-hftbacktest-2024-08/spot_btcusdt_20240808.bbo-trades.jsonl.gz",
            "binance",
            "BTC-USDT",
            1_000,
        ),
    ] {
        let Some(file) = support::shared_data(path) else {
            continue;
        };
        let mut player = player(&file);
        let symbol = player.table().resolve(symbol).expect("a symbol");
        let published = play(&mut player);
        let prices: Vec<_> = published
            .iter()
            .filter(|(id, price)| *id == symbol && price.status.has_value())
            .collect();
        assert!(prices.len() >= at_least, "{path}: {} prices", prices.len());
        assert_eq!(
            (player.stats().damaged, &player.stats().broken_off),
            (0, &None),
            "{path}: {:?}",
            player.stats().named
        );
        let venue = VenueId::from_name(venue).expect("a venue");
        let others: u64 = VenueId::all()
            .filter(|other| *other != venue)
            .map(|other| player.engine().taken(other))
            .sum();
        assert_eq!(others, 0, "{path}: every frame is the venue's");
        let stats = player.stats();
        assert!(stats.quotes + stats.unknown_markets > 0, "{path}: {stats:?}");
        eprintln!(
            "{path}: {} quotes taken, {} prices of {symbol:?}",
            player.engine().taken(venue),
            prices.len()
        );
    }
}

#[test]
fn derivatives_are_not_played_as_spot() {
    let folder = Folder::new();
    let line = r#"{"ts_ns":1700000000000000000,"data":"{}"}"#;
    let refusal = refusal(&folder.write("binance/usdm_btcusdt.jsonl", line));
    assert!(refusal.contains("derivatives"), "{refusal}");
}

#[test]
fn speeds_are_read_as_people_write_them() {
    assert_eq!("max".parse(), Ok(Speed::Fast));
    assert_eq!(
        "60x".parse::<Speed>().map(|speed| speed.to_string()),
        Ok("60x".to_owned())
    );
    assert_eq!(
        "1".parse::<Speed>().map(|speed| speed.to_string()),
        Ok("1x".to_owned())
    );
    for text in ["0", "0x", "-1x", "fast", "1.5x", "", "x"] {
        assert!(text.parse::<Speed>().is_err(), "{text}");
    }
}
