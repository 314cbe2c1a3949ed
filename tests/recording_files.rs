//! What a recorder writes, and that it plays: rotation, kills, slow and full disks, sets of files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use trinity_beast::market::recording::{Recording, RecordingSink, RecordingWriter, WriterOptions};
use trinity_beast::market::replay::{Player, Speed, Step};
use trinity_beast::market::tap::{FrameTap, TapFrame};
use trinity_beast::market::venue::VenueId;
use trinity_beast::market::{AggregatedPrice, SymbolId};

const T0: u64 = 1_700_000_000_000_000_000;
const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

fn venue(name: &str) -> VenueId {
    VenueId::from_name(name).unwrap_or_else(|| panic!("{name} is a venue"))
}

/// A Coinbase ticker with its own time.
fn ticker(sequence: u64, price: u64) -> String {
    format!(
        r#"{{"type":"ticker","sequence":{sequence},"product_id":"BTC-USD","price":"{price}","best_bid":"{price}","best_ask":"{}","time":"2023-11-14T22:13:20.000000Z"}}"#,
        price + 2
    )
}

fn writer(path: &Path, rotate_bytes: u64, rotate_ns: u64) -> RecordingWriter {
    RecordingWriter::create(&WriterOptions {
        path: path.to_owned(),
        rotate_bytes,
        rotate_ns,
    })
    .expect("the folder takes files")
}

fn write(writer: &mut RecordingWriter, at_ns: u64, frame: &str) {
    writer
        .frame(
            at_ns,
            venue("coinbase"),
            "coinbase-1",
            TapFrame::Text(frame.as_bytes()),
        )
        .expect("written");
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

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files
}

fn text(path: &Path) -> String {
    let mut text = String::new();
    let file = File::open(path).expect("it is there");
    // A cut file reads as far as it goes.
    let _ = MultiGzDecoder::new(file).read_to_string(&mut text);
    text
}

#[test]
fn frames_play_as_they_came_whatever_the_file_is_called() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // The lines name their venue; a name that would speak of derivatives says nothing.
    let out = folder.path().join("perp.jsonl.gz");
    let mut writer = writer(&out, u64::MAX, u64::MAX);
    writer
        .connected(T0, venue("coinbase"), "coinbase-1")
        .expect("written");
    write(&mut writer, T0 + MS, &ticker(7, 20_000));
    writer.finish().expect("finished");
    let files = files(folder.path());
    assert_eq!(files.len(), 1);
    assert!(files[0].ends_with("perp-20231114T221320Z.jsonl.gz"), "{files:?}");
    assert_eq!(
        text(&files[0]).lines().skip(1).collect::<Vec<_>>(),
        [
            r#"{"t":"connect","ts_ns":1700000000000000000,"venue":"coinbase","conn":"coinbase-1"}"#
                .to_owned(),
            format!(
                r#"{{"t":"recv","ts_ns":1700000000001000000,"venue":"coinbase","conn":"coinbase-1","data":{}}}"#,
                serde_json::to_string(&ticker(7, 20_000)).expect("text")
            ),
        ]
    );
    let mut player = player(&files[0]);
    let published = play(&mut player);
    assert_eq!(published[0].1.mantissa, 2_000_100_000_000);
    assert_eq!(published[0].1.publish_time_ns, T0 + MS);
    assert_eq!(player.stats().damaged, 0);
}

#[test]
fn files_change_by_size_and_by_time_and_the_set_plays_like_one_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let one = folder.path().join("one.jsonl.gz");
    let set = folder.path().join("set.jsonl.gz");
    let by_size = folder.path().join("size.jsonl.gz");
    let mut whole = writer(&one, u64::MAX, u64::MAX);
    let mut timed = writer(&set, u64::MAX, 2 * SECOND);
    let mut sized = writer(&by_size, 200, u64::MAX);
    for i in 0..60_u64 {
        let frame = ticker(i + 1, 20_000 + i * i % 17);
        for writer in [&mut whole, &mut timed, &mut sized] {
            write(writer, T0 + i * SECOND / 10, &frame);
        }
    }
    assert_eq!((whole.files(), timed.files()), (1, 3));
    assert!(sized.files() > 5, "{}", sized.files());
    for writer in [whole, timed, sized] {
        writer.finish().expect("finished");
    }
    // Played by the name that was given to the recorder.
    let expected = play(&mut player(&one));
    assert!(expected.len() > 50);
    for path in [&set, &by_size] {
        let mut player = player(path);
        assert!(player.recording().files() > 1);
        assert_eq!(play(&mut player), expected, "{}", path.display());
        assert_eq!(player.stats().lines, 60);
    }
    // Several files of one second do not write over each other, and every one plays alone.
    for file in files(folder.path()) {
        assert!(!play(&mut player(&file)).is_empty(), "{}", file.display());
    }
}

#[test]
fn a_recorder_that_is_killed_loses_its_last_second_only() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("killed.jsonl.gz");
    let mut writer = writer(&out, u64::MAX, u64::MAX);
    for i in 0..100_u64 {
        write(&mut writer, T0 + i * 100 * MS, &ticker(i + 1, 20_000 + i));
    }
    // What a kill leaves is what the file holds now: nothing is finished, nothing is dropped.
    std::mem::forget(writer);
    let mut player = player(&out);
    let published = play(&mut player);
    let stats = player.stats();
    assert!((90..=100).contains(&stats.quotes), "{stats:?}");
    assert!(stats.broken_off.is_some(), "{stats:?}");
    assert_eq!(stats.damaged, 0, "{stats:?}");
    assert!(published.len() as u64 >= stats.quotes);
}

#[test]
fn a_file_that_was_just_begun_does_not_keep_its_set_from_playing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("set.jsonl.gz");
    let mut writer = writer(&out, u64::MAX, u64::MAX);
    write(&mut writer, T0, &ticker(1, 20_000));
    writer.finish().expect("finished");
    for (name, bytes) in [
        ("set-20231114T221400Z.jsonl.gz", &b""[..]),
        ("set-20231114T221500Z.jsonl.gz", b"\x1f\x8b\x08"),
        (
            "set-20231114T221600Z.jsonl.gz",
            b"{\"format\":\"trinity-raw-recording\",\"version\":1}\n",
        ),
        ("other-20231114T221600Z.jsonl.gz", b"no recording"),
    ] {
        fs::write(folder.path().join(name), bytes).expect("written");
    }
    let mut player = player(&out);
    assert_eq!(player.recording().files(), 1);
    assert!(!play(&mut player).is_empty());
}

#[test]
fn binary_frames_are_kept_byte_for_byte() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("binary.jsonl.gz");
    let mut writer = writer(&out, u64::MAX, u64::MAX);
    let bytes: Vec<u8> = (0..=255).collect();
    for frame in [
        TapFrame::Binary(&bytes),
        TapFrame::Text(&bytes),
        TapFrame::Binary(b""),
    ] {
        writer.frame(T0, venue("okx"), "okx-1", frame).expect("written");
    }
    let frame = ticker(1, 20_000);
    let frame = TapFrame::Binary(frame.as_bytes());
    writer
        .frame(T0, venue("coinbase"), "coinbase-1", frame)
        .expect("written");
    writer.finish().expect("finished");
    let written = text(&files(folder.path())[0]);
    let kept: Vec<_> = written
        .lines()
        .filter_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let text = line.get("b64")?.as_str()?.to_owned();
            Some(data_encoding::BASE64.decode(text.as_bytes()).expect("base64"))
        })
        .collect();
    assert_eq!(kept[..3], [bytes.clone(), bytes, Vec::new()]);
    // Text in a binary frame is read like any other; what cannot be read is damage, and told.
    let mut player = player(&out);
    assert_eq!(play(&mut player)[0].1.mantissa, 2_000_100_000_000);
    assert_eq!(player.stats().damaged, 3);
}

/// A file whose every write waits for a word.
struct Slow {
    go: Receiver<()>,
    file: File,
}

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // After the last word it is as fast as any.
        let _ = self.go.recv();
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[test]
fn a_slow_disk_never_holds_the_feed_and_what_is_lost_is_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("slow.jsonl.gz");
    let (word, go) = channel();
    let mut slow = Some(Slow {
        go,
        file: File::create(&path).expect("created"),
    });
    let named = path.clone();
    let open = move |_| {
        let slow = slow.take().ok_or_else(|| io::Error::other("one file only"))?;
        Ok((named.clone(), Box::new(slow) as Box<dyn Write + Send>))
    };
    let writer = RecordingWriter::with_files(Box::new(open), u64::MAX, u64::MAX);
    let (mut sink, handle) = RecordingSink::start(writer).expect("a thread");
    let frame = ticker(1, 20_000);
    // More than the queue holds, while the disk takes nothing: this returns at once.
    let shown = 200_000_u64;
    for i in 0..shown {
        let at_ns = T0 + i * MS;
        sink.frame(
            at_ns,
            venue("coinbase"),
            "coinbase-1",
            TapFrame::Text(frame.as_bytes()),
        );
    }
    let lost = handle.status().lost_frames;
    assert!(lost > 0 && lost < shown, "{lost}");
    drop(word);
    drop(sink);
    let status = handle.wait();
    assert_eq!((status.frames + status.lost_frames, status.ended), (shown, None));
    assert_eq!(status.lost_bytes, status.lost_frames * frame.len() as u64);
    let told: u64 = text(&path)
        .lines()
        .filter_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            (line["t"] == "lost").then(|| line["frames"].as_u64().expect("a count"))
        })
        .sum();
    assert_eq!(told, status.lost_frames, "every loss is in the recording");
    let mut player = player(&path);
    play(&mut player);
    assert_eq!(player.stats().lost_frames, status.lost_frames);
}

#[test]
fn a_full_disk_ends_the_recording_with_a_word_and_the_feed_goes_on() {
    let open = |_| {
        let file = OpenOptions::new().write(true).open("/dev/full")?;
        Ok((
            PathBuf::from("/dev/full"),
            Box::new(file) as Box<dyn Write + Send>,
        ))
    };
    let writer = RecordingWriter::with_files(Box::new(open), u64::MAX, u64::MAX);
    let (mut sink, handle) = RecordingSink::start(writer).expect("a thread");
    let mut shown = 0;
    // The thread flushes when it has nothing to do, and learns of the disk then.
    while handle.status().ended.is_none() {
        let frame = ticker(shown + 1, 20_000);
        sink.frame(
            T0 + shown * MS,
            venue("coinbase"),
            "c",
            TapFrame::Text(frame.as_bytes()),
        );
        shown += 1;
        assert!(shown < 100_000, "a full disk is noticed");
        std::thread::park_timeout(Duration::from_millis(1));
    }
    for _ in 0..1_000 {
        sink.frame(T0, venue("coinbase"), "c", TapFrame::Text(b"{}"));
    }
    drop(sink);
    let reason = handle.wait().ended.expect("it ended early");
    assert!(
        reason.contains("/dev/full") && reason.contains("No space left"),
        "{reason}"
    );
}

fn raw(lines: &[(u64, &str, &str)]) -> String {
    lines
        .iter()
        .map(|(at_ns, conn, frame)| {
            serde_json::json!({"t": "recv", "ts_ns": at_ns, "conn": conn, "data": frame}).to_string() + "\n"
        })
        .collect()
}

#[test]
fn the_files_of_a_folder_are_merged_by_time() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lines: Vec<_> = (0..40_u64)
        .map(|i| {
            (
                T0 + i * SECOND / 10,
                "COINBASE.ws.1",
                ticker(i + 1, 20_000 + i * i % 13),
            )
        })
        .collect();
    let lines: Vec<_> = lines
        .iter()
        .map(|(at, conn, frame)| (*at, *conn, frame.as_str()))
        .collect();
    let whole = folder.path().join("whole.jsonl");
    fs::write(&whole, raw(&lines)).expect("written");
    let parts = folder.path().join("parts");
    fs::create_dir(&parts).expect("a folder");
    // Two that overlap, one that follows, and things that are no recordings.
    let pick = |wanted: &dyn Fn(usize) -> bool| -> Vec<_> {
        let picked = lines.iter().enumerate().filter(|(i, _)| wanted(*i));
        picked.map(|(_, line)| *line).collect()
    };
    fs::write(parts.join("b.jsonl"), raw(&pick(&|i| i < 30 && i % 3 == 0))).expect("written");
    fs::write(parts.join("c.jsonl"), raw(&pick(&|i| i < 30 && i % 3 != 0))).expect("written");
    fs::write(parts.join("a.jsonl"), raw(&pick(&|i| i >= 30))).expect("written");
    fs::write(parts.join("README.md"), "not a recording").expect("written");
    fs::write(parts.join("notes.csv"), "not,a,recording\n").expect("written");
    let mut player = player(&parts);
    assert_eq!(player.recording().files(), 3);
    assert_eq!(play(&mut player), play(&mut self::player(&whole)));
    assert_eq!(player.stats().quotes, 40);
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).expect("a folder");
    let refusal = Recording::open(&empty).expect_err("nothing to play").to_string();
    assert!(
        refusal.contains("no file of it has anything to play"),
        "{refusal}"
    );
}

#[test]
fn a_connection_to_derivatives_is_not_played_as_spot() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let frame = r#"{"topic":"orderbook.1.BTCUSDT","type":"snapshot","ts":1700000000000,"data":{"s":"BTCUSDT","b":[["20000","1"]],"a":[["20001","1"]],"u":1,"seq":1},"cts":1699999999999}"#;
    let connect = |conn: &str, addr: &str| {
        serde_json::json!({"t": "connect", "conn": conn, "ts_ns": T0, "addr": addr}).to_string() + "\n"
    };
    let text = [
        connect("BYBIT.ws.2", "wss://stream.bybit.com/v5/public/linear"),
        connect("BYBIT.ws.3", "wss://stream.bybit.com/v5/public/spot"),
        raw(&[(T0 + 1, "BYBIT.ws.2", frame), (T0 + 2, "BYBIT.ws.2", frame)]),
    ]
    .concat();
    fs::create_dir(folder.path().join("bybit")).expect("a folder");
    let path = folder.path().join("bybit/ws.jsonl");
    fs::write(&path, text).expect("written");
    let mut player = player(&path);
    play(&mut player);
    let stats = player.stats();
    assert_eq!(
        (stats.derivative_frames, stats.quotes, stats.damaged),
        (2, 0, 0),
        "{stats:?}"
    );
}

#[test]
fn numbers_that_count_a_connections_messages_are_not_compared_between_two() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("coinbase.jsonl");
    let frame = |number: u64, bid: u64| {
        format!(
            r#"{{"channel":"ticker","client_id":"","timestamp":"2023-11-14T22:13:20.000000Z","sequence_num":{number},"events":[{{"type":"update","tickers":[{{"type":"ticker","product_id":"BTC-USD","price":"{bid}","best_bid":"{bid}","best_ask":"{}"}}]}}]}}"#,
            bid + 2
        )
    };
    let frames = [
        frame(900, 20_000),
        frame(3, 20_010),
        frame(901, 20_020),
        frame(4, 20_030),
    ];
    let lines = [
        (T0 + MS, "COINBASE.ws.1", frames[0].as_str()),
        (T0 + 2 * MS, "COINBASE.ws.2", &frames[1]),
        (T0 + 3 * MS, "COINBASE.ws.1", &frames[2]),
        (T0 + 4 * MS, "COINBASE.ws.2", &frames[3]),
    ];
    fs::write(&path, raw(&lines)).expect("written");
    let mut player = player(&path);
    let seen: Vec<_> = play(&mut player)
        .iter()
        .filter(|(_, price)| price.status.has_value())
        .map(|(_, price)| price.mantissa / 100_000_000)
        .collect();
    assert_eq!(seen[..4], [20_001, 20_011, 20_021, 20_031]);
    assert_eq!(player.engine().taken(venue("coinbase")), 4);
}

#[test]
fn connections_written_one_after_another_are_merged_by_time() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("coinbase.jsonl");
    let connect = |conn: &str, at_ns: u64| {
        let line = serde_json::json!({
            "t": "connect", "conn": conn, "ts_ns": at_ns, "addr": "wss://ws-feed.exchange.coinbase.com"
        });
        line.to_string() + "\n"
    };
    let frames: Vec<_> = (0..20_u64).map(|i| ticker(i + 1, 20_000 + i)).collect();
    let at = |i: u64| T0 + i * SECOND / 2;
    let of = |conn: &'static str, rest: u64| -> String {
        let lines: Vec<_> = (0..20_u64)
            .filter(|i| i % 2 == rest)
            .map(|i| (at(i), conn, frames[i as usize].as_str()))
            .collect();
        connect(conn, at(rest)) + &raw(&lines)
    };
    fs::write(&path, of("A", 0) + &of("B", 1)).expect("written");
    let mut player = player(&path);
    let seen: Vec<_> = play(&mut player)
        .iter()
        .filter(|(_, price)| price.status.has_value())
        .map(|(_, price)| price.mantissa / 100_000_000)
        .collect();
    assert_eq!(seen[..20], (0..20).map(|i| 20_001 + i).collect::<Vec<_>>());
    let stats = player.stats();
    assert_eq!(
        (stats.damaged, stats.reordered, stats.lines),
        (0, 0, 22),
        "{stats:?}"
    );
}

#[test]
fn a_line_of_a_venue_that_is_not_known_is_damage() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("a.jsonl");
    let lines = concat!(
        r#"{"t":"recv","ts_ns":1700000000000000000,"venue":"mtgox","conn":"m","data":"{}"}"#,
        "\n",
        r#"{"t":"recv","ts_ns":1700000000000000001,"venue":"kraken","conn":"m","b64":"%%"}"#,
        "\n",
        r#"{"t":"connect","ts_ns":1700000000000000002,"venue":"kraken","conn":"m"}"#,
        "\n"
    );
    fs::write(&path, lines).expect("written");
    let mut player = player(&path);
    play(&mut player);
    let named = player.stats().named;
    assert!(named[0].1.contains("`mtgox` is no known venue"), "{named:?}");
    assert!(named[1].1.contains("b64"), "{named:?}");
}
