//! Every kind on a few lines of it.

#![expect(
    clippy::float_cmp,
    reason = "both sides are the same decimals read to the nearest float"
)]

use std::io::Write as _;
use std::path::PathBuf;

use trinity_protocol::PriceStatus;

use super::*;
use crate::market::AggregatedPrice;
use crate::market::recording::Recording;
use crate::market::replay::{Player, Speed, Step};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn file(&self, name: &str, text: &str) -> Input {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().expect("it has a folder")).expect("a folder");
        std::fs::write(&path, text).expect("written");
        Input {
            path,
            ..Input::default()
        }
    }

    fn written(&self, conversion: &Conversion) -> PathBuf {
        let path = self.0.path().join("out.csv");
        let mut file = File::create(&path).expect("created");
        conversion.write(&mut file).expect("written");
        file.flush().expect("written");
        path
    }

    /// Converts, plays, and gives every price of one symbol.
    fn prices(&self, inputs: &[Input], symbol: &str) -> Vec<AggregatedPrice> {
        let conversion = convert(inputs, &Options::default()).unwrap_or_else(|error| panic!("{error}"));
        self.played(&conversion, symbol)
    }

    fn played(&self, conversion: &Conversion, symbol: &str) -> Vec<AggregatedPrice> {
        let recording = Recording::open(&self.written(conversion)).unwrap_or_else(|error| panic!("{error}"));
        let mut player = Player::new(recording, Speed::Fast, false).unwrap_or_else(|error| panic!("{error}"));
        let id = player
            .table()
            .resolve(symbol)
            .unwrap_or_else(|| panic!("{symbol} is in the table"));
        let mut prices = Vec::new();
        while player
            .step(&mut |symbol, price| prices.extend((symbol == id).then_some(*price)))
            .expect("it plays on")
            != Step::Over
        {}
        assert_eq!(player.stats().damaged, 0);
        assert_eq!(player.stats().unknown_markets, 0);
        prices
    }
}

/// Price, confidence, and the second of its newest quote.
fn told(price: &AggregatedPrice) -> (f64, f64, u64) {
    let unit = 10f64.powi(price.exponent.into());
    let round = |value: f64| (value * 1e6).round() / 1e6;
    (
        round(price.mantissa as f64 * unit),
        round(price.confidence as f64 * unit),
        price.publish_time_ns / 1_000_000_000,
    )
}

#[test]
fn a_bar_is_a_quote_at_its_end_and_none_without_volume() {
    let folder = Folder::new();
    let bars = "start_unix,open,high,low,close,volume,trades\n\
                1678406400,20360,20370,20350,20365.5,1.5,\n\
                1678406460,20365.5,20365.5,20365.5,20365.5,0.0,0\n";
    let coinbase = folder.file("coinbase_btcusd_1m.csv", bars);
    let kraken = folder.file("kraken_btcusd_1m.csv", &bars.replace("20365.5,1.5", "20367,1.5"));
    let conversion = convert(&[coinbase, kraken], &Options::default()).expect("it converts");
    assert_eq!(conversion.len(), 2);
    assert_eq!(conversion.reports[0].left_out["bars without volume"], 1);
    assert!(conversion.symbols().is_empty(), "the table knows these markets");
    let prices = folder.played(&conversion, "BTC-USD");
    // Votes 20365.5 and 20367, each +- 10: the middle, and a half of it all.
    assert_eq!(told(&prices[0]), (20_366.25, 9.25, 1_678_406_460));
    assert_eq!(prices[0].status, PriceStatus::Live);
    // Two and a half bars later it is stale, ten bars later it is gone.
    assert_eq!(prices[1].status, PriceStatus::Stale);
    assert_eq!(prices[2].status, PriceStatus::NoPrice);
    assert_eq!(prices.len(), 3);
}

#[test]
fn stablecoins_in_one_word_are_cut_where_the_table_knows_them() {
    let folder = Folder::new();
    let bars = "start_unix,open,high,low,close,volume\n1678406400,1,1.01,0.99,1,5\n";
    let conversion = convert(
        &[
            folder.file("kraken_usdtusd_1m.csv", bars),
            folder.file("binance_usdcusdt_1m.csv", bars),
            folder.file("binance_btcfdusd_5m.csv", bars),
            folder.file("binance_newtusd_5m.csv", bars),
        ],
        &Options::default(),
    )
    .expect("it converts");
    assert_eq!(
        conversion.names(),
        ["BTC-FDUSD", "NEW-TUSD", "USDC-USDT", "USDT-USD"]
    );
}

#[test]
fn bars_of_bids_and_asks_are_the_book_at_their_end() {
    let folder = Folder::new();
    let text =
        "0,6049,6050,6048,6049.68,2.2,6050,6051,6049,6049.70,0.9\n60000,,,,,,6050,6051,6049,6049.7,1\n";
    let input = folder.file("crypto-coinbase-btceur-minute-20180404_quote.csv", text);
    let conversion = convert(&[input], &Options::default()).expect("it converts");
    assert_eq!(conversion.reports[0].left_out["quotes with one side only"], 1);
    let prices = folder.played(&conversion, "BTC-EUR");
    assert_eq!(told(&prices[0]), (6_049.69, 0.01, 1_522_800_060));
    assert_eq!(prices[0].status, PriceStatus::Thin, "one venue is never live");
}

#[test]
fn lean_folders_hours_seconds_and_ticks_are_understood() {
    let folder = Folder::new();
    let trade = "20180404 13:00,7000,7100,6900,7050,12.5\n";
    let hour = folder.file("crypto/gdax/hour/btcusd_trade.csv", trade);
    assert_eq!(
        told(&folder.prices(&[hour], "BTC-USD")[0]),
        (7_050.0, 100.0, 1_522_850_400)
    );
    let minute = folder.file(
        "crypto/coinbase/minute/ethusd/20180404_trade.csv",
        "60000,400,402,400,401,3\n",
    );
    assert_eq!(
        told(&folder.prices(&[minute], "ETH-USD")[0]),
        (401.0, 1.0, 1_522_800_120)
    );
    let second = folder.file(
        "crypto-coinbase-btcusd-second-20161007_trade.csv",
        "4000,611.78,611.87,611.77,611.87,0.6\n",
    );
    assert_eq!(
        told(&folder.prices(&[second], "BTC-USD")[0]),
        (611.87, 0.05, 1_475_798_405)
    );
    let tick = folder.file(
        "crypto-bitfinex-btcusd-tick-20180404_quote.csv",
        "1500,7000,1,7002,1\n",
    );
    assert_eq!(
        told(&folder.prices(&[tick], "BTC-USD")[0]),
        (7_001.0, 1.0, 1_522_800_001)
    );
    let nothing = folder.file("crypto-coinbase-btcusd-20180404_quote.csv", "1,2,3\n");
    let refusal = convert(&[nothing], &Options::default())
        .expect_err("no resolution")
        .to_string();
    assert!(refusal.contains("of no kind that is known"), "{refusal}");
}

#[test]
fn a_perpetual_is_a_symbol_of_its_own_and_never_votes_on_the_coin() {
    let folder = Folder::new();
    let spot = r#"{"ts_ns":1723161254087891268,"data":"{\"stream\":\"btcusdt@bookTicker\",\"data\":{\"u\":50,\"s\":\"BTCUSDT\",\"b\":\"61837\",\"B\":\"3\",\"a\":\"61838\",\"A\":\"1\"}}"}"#;
    let usdm = r#"{"ts_ns":1723161254088169167,"data":"{\"stream\":\"btcusdt@bookTicker\",\"data\":{\"e\":\"bookTicker\",\"u\":51,\"s\":\"BTCUSDT\",\"b\":\"61800\",\"B\":\"2\",\"a\":\"61801\",\"A\":\"2\",\"T\":1723161255313,\"E\":1723161255313}}"}"#;
    let coinm = r#"{"ts_ns":1723161254207640365,"data":"{\"stream\":\"btcusd_perp@bookTicker\",\"data\":{\"u\":1,\"e\":\"bookTicker\",\"s\":\"BTCUSD_PERP\",\"ps\":\"BTCUSD\",\"b\":\"61804\",\"B\":\"35\",\"a\":\"61806\",\"A\":\"16\",\"T\":1723161255465,\"E\":1723161255476}}"}"#;
    let inputs = [
        folder.file("binance-set/spot_btcusdt.jsonl", spot),
        folder.file("binance-set/usdm_btcusdt.jsonl", usdm),
        folder.file("binance-set/cm_btcusd_perp.jsonl", coinm),
    ];
    let conversion = convert(&inputs, &Options::default()).expect("it converts");
    assert_eq!(conversion.names(), ["BTC-USD-PERP", "BTC-USDT", "BTC-USDT-PERP"]);
    for (symbol, price) in [
        ("BTC-USDT", 61_837.5),
        ("BTC-USDT-PERP", 61_800.5),
        ("BTC-USD-PERP", 61_805.0),
    ] {
        let prices = folder.played(&conversion, symbol);
        assert!(
            prices
                .iter()
                .all(|told_price| told_price.mantissa == 0 || told(told_price).0 == price),
            "{symbol}: {prices:?}"
        );
        assert_eq!(prices[0].venues_used, 1, "{symbol}");
    }
    // The coin in dollars hears of none of them: no rate is known, and a perpetual is no rate.
    assert!(
        folder
            .played(&conversion, "BTC-USD")
            .iter()
            .all(|price| price.venues_used == 0)
    );
}

#[test]
fn the_merged_table_gives_what_the_frames_give() {
    let folder = Folder::new();
    let text = "recv_ns,venue,base,quote,kind,bid,ask,price,size,event_ms\n\
                1723161254024619568,binance-spot,ETH,USDT,quote,2683.80000000,2683.82000000,,,\n\
                1723161254087896568,binance-usdm,ETH,USDT,trade,,,2680.5,0.02000000,1723161255342\n\
                1723161254088000000,mtgox,ETH,USDT,quote,1,2,,,\n";
    let conversion = convert(&[folder.file("a.csv", text)], &Options::default()).expect("it converts");
    assert_eq!(conversion.reports[0].left_out["venue mtgox is not known"], 1);
    assert_eq!(told(&folder.played(&conversion, "ETH-USDT")[0]).0, 2_683.81);
    let perpetual = folder.played(&conversion, "ETH-USDT-PERP");
    assert_eq!(
        (told(&perpetual[0]).0, perpetual[0].publish_time_ns),
        (2_680.5, 1_723_161_254_087_896_568)
    );
}

#[test]
fn ticks_of_nautilus_take_their_venue_from_the_folder_or_the_command() {
    let folder = Folder::new();
    let quotes = "ts_ms,symbol,ask_size,ask,bid_size,bid\n1610064001076,BTC/USDT,0.06,39434,0.0031,39432\n";
    let trades =
        "ts_ms,trade_id,price,quantity,buyer_maker\n1610064000278,553287559,39432.48,0.000263,True\n";
    let inputs = [
        folder.file("binance-nautilus/btcusdt-quotes.csv", quotes),
        folder.file("binance-nautilus/btcusdt-trades.csv", trades),
    ];
    let prices = folder.prices(&inputs, "BTC-USDT");
    assert_eq!(told(&prices[0]).0, 39_432.48);
    assert_eq!(told(&prices[1]), (39_433.0, 1.0, 1_610_064_001));
    let nameless = folder.file("ticks/btcusdt-quotes.csv", quotes);
    let refusal = convert(std::slice::from_ref(&nameless), &Options::default())
        .expect_err("whose?")
        .to_string();
    assert!(refusal.contains("--venue"), "{refusal}");
    let named = Input {
        venue: VenueId::from_name("kraken"),
        ..nameless
    };
    assert_eq!(told(&folder.prices(&[named], "BTC-USDT")[0]).0, 39_433.0);
}

#[test]
fn two_japanese_venues_make_one_price_in_yen() {
    let folder = Folder::new();
    let inputs = [
        folder.file(
            "bitflyerJPY_2018-08-12.csv",
            "date,last\n2018-08-12 00:00:19,681008.0\n",
        ),
        folder.file(
            "btcboxJPY_2018-08-12.csv",
            "date,last\n2018-08-12 00:00:08,681475.0\nsoon,1\n",
        ),
    ];
    let conversion = convert(&inputs, &Options::default()).expect("it converts");
    assert_eq!(
        (conversion.reports[1].damaged, conversion.reports[1].named[0].0),
        (1, 3)
    );
    let prices = folder.played(&conversion, "BTC-JPY");
    assert_eq!(
        (told(&prices[0]).0, prices[0].status),
        (681_475.0, PriceStatus::Thin)
    );
    assert_eq!(
        (told(&prices[1]).0, prices[1].status),
        (681_241.5, PriceStatus::Live)
    );
    assert_eq!(prices[1].publish_time_ns, 1_534_032_019_000_000_000);
}

#[test]
fn an_oracles_sources_vote_and_its_value_does_not() {
    let folder = Folder::new();
    let message = r#"{"price":{"wat":"BTCUSD","val":"25500000000000000000000","age":1686928060},"trace":{"BTC/USD@bitstamp":"25549","BTC/USD@coinbasepro":"2.5531e4","BTC/USD@kraken":"25540","BTC/USD@mtgox":"1"},"version":"1.15.1"}"#;
    let conversion = convert(&[folder.file("a.jsonl", message)], &Options::default()).expect("it converts");
    assert_eq!(conversion.reports[0].left_out["venue mtgox is not known"], 1);
    let prices = folder.played(&conversion, "BTC-USD");
    assert_eq!((told(&prices[0]).0, prices[0].venues_used), (25_540.0, 3));

    let ssb = r#"{"type":"MKRUSD","price":655.4,"time":1686927177,"sources":{"MKR/USD@bitstamp":"652","MKR/USD@gemini":"654"}}"#;
    assert_eq!(
        told(&folder.prices(&[folder.file("b.jsonl", ssb)], "MKR-USD")[0]).0,
        653.0
    );

    let table = "file,line,asset,age_unix,value,pair,venue,price\n\
                 m,1,MANAUSD,1686928060,0.33,MANA/USD,kraken,0.33286\n\
                 m,1,MANAUSD,1686928060,0.33,MANA/USD,coinbasepro,0.3322\n";
    assert_eq!(
        told(&folder.prices(&[folder.file("c.csv", table)], "MANA-USD")[0]).0,
        0.33253
    );
}

#[test]
fn a_message_without_sources_is_the_oracles_word_and_a_rejected_one_is_left_out() {
    let folder = Folder::new();
    let collected = r#"{"age":"2023-06-14T16:49:48Z","msg":"Price collected","time":"2023-06-14T16:49:51Z","val":"25960080000000000000000","wat":"BTCUSD"}"#;
    let rejected = r#"{"age":"2023-06-14T16:50:48Z","error":"messages from feed are not allowed","msg":"Price rejected","time":"2023-06-14T16:50:51Z","val":"1000000000000000000","wat":"BTCUSD"}"#;
    let both = folder.file("a.jsonl", &format!("{collected}\n{rejected}\n"));
    let conversion = convert(&[both], &Options::default()).expect("it converts");
    assert_eq!(conversion.len(), 1);
    let prices = folder.played(&conversion, "BTC-USD");
    assert_eq!(told(&prices[0]), (25_960.08, 0.0, 1_686_761_391));
    let only = folder.file("b.jsonl", rejected);
    let refusal = convert(std::slice::from_ref(&only), &Options::default())
        .expect_err("none is left")
        .to_string();
    assert!(refusal.contains("--with-rejected"), "{refusal}");
    let options = Options {
        with_rejected: true,
        ..Options::default()
    };
    assert_eq!(convert(&[only], &options).expect("asked for").len(), 1);
}

#[test]
fn what_is_none_of_these_is_refused_with_what_would_help() {
    let folder = Folder::new();
    for (name, text, expected) in [
        ("a.csv", "time,price\n1,2\n", "of no kind that is known"),
        ("a.csv", "", "of no kind that is known"),
        (
            "btcusd.csv",
            "start_unix,high,low,close,volume\n",
            "how long a bar is",
        ),
        (
            "mtgox_btcusd_1m.csv",
            "start_unix,high,low,close,volume\n",
            "--venue",
        ),
        (
            "kraken_what_1m.csv",
            "start_unix,high,low,close,volume\n",
            "--pair",
        ),
        (
            "crypto-mtgox-btcusd-minute-20140101_trade.csv",
            "0,1,1,1,1,1\n",
            "--venue",
        ),
        (
            "coinbase_btcusd_1m.csv",
            "start_unix,high,low,close,volume\nx,1,1,1,1\n",
            "1 damaged lines",
        ),
        ("other/a.jsonl", r#"{"ts_ns":1,"data":"{}"}"#, "--venue"),
    ] {
        let refusal = convert(&[folder.file(name, text)], &Options::default())
            .expect_err("it cannot be converted")
            .to_string();
        assert!(refusal.contains(expected), "{name}: {refusal}");
    }
    let missing = Input {
        path: folder.0.path().join("missing.csv"),
        ..Input::default()
    };
    assert!(matches!(
        convert(&[missing], &Options::default()),
        Err(ConvertError::Io { .. })
    ));
}

#[test]
fn the_same_files_give_the_same_bytes_and_windows_cut_them() {
    let folder = Folder::new();
    let bars =
        "start_unix,high,low,close,volume\n1678406400,3,1,2,1\n1678406460,3,1,2,1\n1678406520,3,1,2,1\n";
    let input = folder.file("coinbase_btcusd_1m.csv", bars);
    let bytes = |options: &Options| {
        let mut bytes = Vec::new();
        let conversion = convert(std::slice::from_ref(&input), options).expect("it converts");
        conversion.write(&mut bytes).expect("memory takes it");
        String::from_utf8(bytes).expect("text")
    };
    let all = bytes(&Options::default());
    assert_eq!(all, bytes(&Options::default()));
    assert!(
        all.lines()
            .nth(1)
            .is_some_and(|row| row == "1678406460000,coinbase,BTC-USD,2,1"),
        "{all}"
    );
    let cut = bytes(&Options {
        after_ns: Some(1_678_406_460_000_000_000),
        until_ns: Some(1_678_406_520_000_000_000),
        renamed: vec![(
            "coinbase".to_owned(),
            VenueId::from_name("kraken").expect("a venue"),
        )],
        ..Options::default()
    });
    let rows: Vec<_> = cut.lines().skip(1).collect();
    assert_eq!(rows.len(), 1);
    assert!(rows[0].starts_with("1678406520000,kraken,"), "{cut}");
}
