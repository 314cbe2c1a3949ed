//! `decode`: captured venue messages in, one JSON line per frame out.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::market::decode::{DecodeError, Decoder, Options, Summary, venue_names, venue_of_name};
use crate::market::venue::VenueId;

/// Exit code when a frame or a line was not as the venue documents it.
pub const NOT_UNDERSTOOD: u8 = 4;
/// Exit code when a file could not be read.
const UNREADABLE: u8 = 1;
/// Exit code when nothing says whose frames these are.
const USAGE: u8 = 2;

/// Files below this size are read before anybody looks for a progress bar, bytes.
const PROGRESS_BYTES: u64 = 8 << 20;

const FORMATS: &str = "\
Each line of a FILE (plain or gzip) is a recorder's envelope
({\"t\":\"recv\",\"conn\":..,\"ts\"|\"ts_ns\":..,\"data\"|\"b64\":..}), a labelled message
({\"kind\":..,\"src\":..,\"data\":..}) or a bare frame; or the whole file is one JSON value.
Lines with \"t\":\"http\", and files in a folder called rest, hold REST answers.
A recorder's note that it connected is shown as a status, what it sent as a request.

One JSON object is printed per frame: file, line, kind, venue, ts_ns, and what the frame says;
`events` holds all it says if that is more than one thing. Numbers are exact decimals as text.
A summary follows on standard error.

Exit codes: 0 every frame was understood, 1 a file could not be read, 2 wrong usage,
4 a frame or a line was not understood.";

/// Decode captured venue messages, one JSON line per frame
#[derive(Clone, Debug, Args)]
#[command(after_help = FORMATS)]
pub struct DecodeArgs {
    /// Whose messages these are [default: what the line or the file's path says]
    #[arg(long, value_name = "VENUE", value_parser = venue)]
    venue: Option<VenueId>,
    /// Instrument of REST answers that do not name it, as the stream spells it
    #[arg(long, value_name = "NAME")]
    instrument: Option<String>,
    /// Take every frame for the body of a REST answer
    #[arg(long)]
    rest: bool,
    /// Print the summary only, as JSON
    #[arg(long)]
    summary: bool,
    /// Files to read; `-`, or none, is standard input
    #[arg(value_name = "FILE")]
    files: Vec<String>,
}

fn venue(name: &str) -> Result<VenueId, String> {
    venue_of_name(name).ok_or_else(|| format!("no such venue; there are {}", venue_names()))
}

/// Runs the command; its lines go to `out`. Returns the exit code.
pub fn run(args: &DecodeArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let mut out = BufWriter::new(out);
    let mut summary = Summary::default();
    let result = decode_all(args, &mut out, &mut summary).and_then(|code| {
        if args.summary {
            serde_json::to_writer_pretty(&mut out, &summary)?;
            writeln!(out)?;
        }
        out.flush()?;
        Ok(code)
    });
    let code = match result {
        Ok(code) => code,
        // Whoever read the lines has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            // What is left in the buffer has no reader.
            let _ = out.into_parts();
            return Ok(0);
        }
        Err(error) => return Err(error.into()),
    };
    if !args.summary {
        eprintln!("{summary}");
    }
    Ok(match code {
        0 if !summary.all_understood() => NOT_UNDERSTOOD,
        code => code,
    })
}

/// Decodes every file, whatever became of the one before; an error is one of the output.
fn decode_all(args: &DecodeArgs, out: &mut impl Write, summary: &mut Summary) -> io::Result<u8> {
    let mut decoder = Decoder::new(Options {
        venue: args.venue,
        rest: args.rest,
        instrument: args.instrument.clone(),
    });
    let standard_input = ["-".to_owned()];
    let files = if args.files.is_empty() {
        &standard_input[..]
    } else {
        &args.files
    };
    let mut code = 0;
    for name in files {
        let (input, progress) = match open(name) {
            Ok(opened) => opened,
            Err(error) => {
                eprintln!("error: cannot read {name}: {error}");
                summary.unread += 1;
                code = UNREADABLE;
                continue;
            }
        };
        summary.files += 1;
        let result = decoder.decode(name, input, &mut |frame| {
            summary.count(frame);
            if args.summary {
                return Ok(());
            }
            serde_json::to_writer(&mut *out, frame)?;
            out.write_all(b"\n")
        });
        progress.finish_and_clear();
        match result {
            Ok(()) => {}
            Err(DecodeError::Output(error)) => return Err(error),
            Err(error) => {
                eprintln!("error: {error}");
                summary.unread += 1;
                let usage = matches!(
                    error,
                    DecodeError::NoVenue { .. } | DecodeError::UnknownVenue { .. }
                );
                code = if usage { USAGE } else { UNREADABLE };
            }
        }
    }
    Ok(code)
}

/// A file with a bar that shows how far it is read, where somebody sees it.
fn open(name: &str) -> io::Result<(Box<dyn Read + Send>, ProgressBar)> {
    if name == "-" {
        return Ok((Box::new(io::stdin()), ProgressBar::hidden()));
    }
    let file = File::open(name)?;
    let length = file.metadata()?.len();
    // Lines on the same terminal would tear the bar.
    let seen = io::stderr().is_terminal() && !io::stdout().is_terminal();
    if length < PROGRESS_BYTES || !seen {
        return Ok((Box::new(file), ProgressBar::hidden()));
    }
    let progress = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {eta}")
        .expect("the template is part of the program");
    progress.set_style(style);
    progress.set_message(name.to_owned());
    progress.enable_steady_tick(Duration::from_millis(200));
    Ok((Box::new(progress.wrap_read(file)), progress))
}
