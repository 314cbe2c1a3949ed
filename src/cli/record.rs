//! `record`: writes what the venues send to files that can be played.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::control::live::{self, LiveParts, LiveSettings};
use crate::market::recording::{
    RecordingHandle, RecordingSink, RecordingStatus, RecordingWriter, WriterOptions,
};
use crate::market::symbol::SymbolTable;
use crate::market::tap::FrameTap;

/// How often the recording is looked at, to end a feed that nobody writes down.
const LOOK: Duration = Duration::from_millis(500);

/// Write what the venues send to files that can be played
///
/// The files are called NAME-TIME.jsonl.gz for `--out NAME.jsonl.gz`, one after another;
/// `serve --market replay:NAME.jsonl.gz` plays them all in order. A process that is killed loses
/// the last second.
#[derive(Args, Debug)]
pub struct RecordArgs {
    /// What to record: `live`, the venues themselves
    #[arg(long, value_name = "MARKET", value_parser = ["live"], default_value = "live")]
    pub market: String,
    /// Where it goes
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Which venues and instruments, as for `serve`
    #[arg(long, value_name = "FILE")]
    pub venues_config: Option<PathBuf>,
    /// How long, such as 90s, 15m, 1h or 2d [default: until it is told to end]
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    pub duration: Option<Duration>,
    /// Begin a new file when one has grown to so many megabytes
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..))]
    pub rotate_mb: u64,
    /// Begin a new file when one has lasted so long
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = span)]
    pub rotate_every: Duration,
}

/// Records the venues themselves.
pub fn run_live(args: &RecordArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    super::logging::start(false);
    let settings = match &args.venues_config {
        Some(path) => LiveSettings::read(path, false)?,
        None => LiveSettings::builtin(),
    };
    run(args, out, |tap, mut stop| {
        let ended = Arc::new(AtomicBool::new(false));
        let (mut parts, _) =
            LiveParts::alone(settings, Arc::new(SymbolTable::builtin()), Arc::clone(&ended))?;
        parts.tap = Some(tap);
        let watcher = thread::Builder::new()
            .name("record-end".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build()?;
                // An error means that nobody can say it any more, which is an end as well.
                let _ = runtime.block_on(stop.wait_for(|stop| *stop));
                ended.store(true, Ordering::Relaxed);
                std::io::Result::Ok(())
            })?;
        let fed = live::run(&mut parts);
        if fed.is_ok() {
            // It ends because it was told to, so the watcher has ended too.
            let _ = watcher.join();
        }
        fed
    })
}

/// Records until the time is over, SIGTERM or SIGINT comes, or nothing more can be written.
///
/// `feed` connects to the venues, shows everything to the tap, and returns when `stop` turns
/// true; the tap must be dropped by then.
pub fn run(
    args: &RecordArgs,
    out: &mut dyn Write,
    feed: impl FnOnce(Box<dyn FrameTap + Send>, watch::Receiver<bool>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let writer = RecordingWriter::create(&WriterOptions {
        path: args.out.clone(),
        rotate_bytes: args.rotate_mb.saturating_mul(1_000_000),
        rotate_ns: u64::try_from(args.rotate_every.as_nanos()).unwrap_or(u64::MAX),
    })
    .with_context(|| format!("cannot record to {}", args.out.display()))?;
    let (sink, handle) = RecordingSink::start(writer).context("cannot start the recording")?;
    let handle = Arc::new(handle);
    let (stop, stopped) = watch::channel(false);
    let duration = args.duration;
    let watched = Arc::clone(&handle);
    let watcher = thread::Builder::new()
        .name("record-stop".to_owned())
        .spawn(move || wait_for_end(duration, &watched, &stop))
        .context("cannot start a thread")?;
    let fed = feed(Box::new(sink), stopped);
    // The watcher ends when the feed has dropped its end of the channel.
    let waited = watcher.join();
    let status = match Arc::try_unwrap(handle) {
        Ok(handle) => handle.wait(),
        Err(handle) => handle.status(),
    };
    tell(&status, out)?;
    fed?;
    if let Ok(result) = waited {
        result?;
    }
    if let Some(reason) = status.ended {
        bail!("the recording ended early: {reason}");
    }
    Ok(())
}

fn wait_for_end(
    duration: Option<Duration>,
    handle: &RecordingHandle,
    stop: &watch::Sender<bool>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    let result = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let ended = async {
            while handle.status().ended.is_none() {
                tokio::time::sleep(LOOK).await;
            }
        };
        let over = async {
            match duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = ended => {}
            () = over => {}
            () = stop.closed() => {}
        }
        anyhow::Ok(())
    });
    // A feed that is gone already needs no word.
    let _ = stop.send(true);
    result
}

fn tell(status: &RecordingStatus, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(
        out,
        "{} frames written ({} bytes), {} lost",
        status.frames, status.bytes, status.lost_frames
    )
}

/// `90s`, `15m`, `1h` or `2d`.
fn span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time such as 90s, 15m, 1h or 2d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    match count.checked_mul(seconds) {
        Some(0) | None => Err(wrong()),
        Some(seconds) => Ok(Duration::from_secs(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::market::recording::Recording;
    use crate::market::replay::{Player, Speed, Step};
    use crate::market::tap::TapFrame;
    use crate::market::venue::VenueId;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: RecordArgs,
    }

    fn args(words: &[&str]) -> Result<RecordArgs, clap::Error> {
        Line::try_parse_from([&["record"], words].concat()).map(|line| line.args)
    }

    #[test]
    fn what_a_feed_shows_is_written_and_plays() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let out = folder.path().join("market.jsonl.gz");
        let out = out.to_str().expect("UTF-8");
        let args = args(&["--out", out, "--for", "1h"]).expect("good arguments");
        let mut told = Vec::new();
        let coinbase = VenueId::from_name("coinbase").expect("a venue");
        run(&args, &mut told, |mut tap, stop| {
            assert!(!*stop.borrow());
            tap.connected(1_700_000_000_000_000_000, coinbase, "coinbase-1");
            let frame = br#"{"type":"ticker","sequence":5,"product_id":"BTC-USD","price":"20000.5","best_bid":"20000","best_ask":"20001","time":"2023-11-14T22:13:20.400000Z"}"#;
            tap.frame(1_700_000_000_500_000_000, coinbase, "coinbase-1", TapFrame::Text(frame));
            Ok(())
        })
        .expect("it records");
        assert!(String::from_utf8_lossy(&told).starts_with("1 frames written"));
        let recording = Recording::open(&args.out).expect("the files of that name");
        let mut player = Player::new(recording, Speed::Fast, false).expect("it plays");
        let mut prices = Vec::new();
        while player
            .step(&mut |_, price| prices.push(price.mantissa))
            .expect("it plays on")
            != Step::Over
        {}
        assert_eq!(prices[0], 2_000_050_000_000);
    }

    #[test]
    fn a_feed_is_told_to_stop_when_the_time_is_over() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let out = folder.path().join("market.jsonl.gz");
        let args = args(&["--out", out.to_str().expect("UTF-8"), "--for", "1s"]).expect("good arguments");
        run(&args, &mut Vec::new(), |tap, mut stop| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async { stop.wait_for(|stop| *stop).await.map(|_| ()) })?;
            drop(tap);
            Ok(())
        })
        .expect("it ends by itself");
    }

    #[test]
    fn arguments_that_make_no_sense_are_refused() {
        for words in [
            &["--out", "a.jsonl.gz", "--for", "soon"][..],
            &["--out", "a.jsonl.gz", "--for", "0s"],
            &["--out", "a.jsonl.gz", "--rotate-mb", "0"],
            &["--out", "a.jsonl.gz", "--market", "replay"],
            &["--for", "1h"],
        ] {
            assert!(args(words).is_err(), "{words:?}");
        }
        let nowhere = args(&["--out", "/proc/nowhere/a.jsonl.gz"]).expect("good arguments");
        let refusal = run(&nowhere, &mut Vec::new(), |_, _| Ok(())).expect_err("no folder");
        assert!(
            format!("{refusal:#}").contains("cannot write in /proc/nowhere"),
            "{refusal:#}"
        );
    }
}
