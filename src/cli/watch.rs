//! `watch`: a live view of a few prices in the terminal.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use crossterm::style::{Color, Stylize};
use crossterm::{cursor, queue, terminal};
use trinity_protocol::client::{Client, ClientError, PriceReply, SymbolPrice};
use trinity_protocol::{PriceQuery, PriceStatus};

use super::output::short_time;
use super::query::{LinkArgs, explain, is_replayed, read_symbols};

/// Watch prices change in the terminal; end with Ctrl-C.
#[derive(Clone, Debug, Args)]
pub struct WatchArgs {
    #[command(flatten)]
    link: LinkArgs,
    /// Symbols, for example BTC-USD USDC-USD
    #[arg(required = true, num_args = 1..=31, value_name = "SYMBOL")]
    symbols: Vec<String>,
    /// Time between two looks, milliseconds
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(50..=60_000), value_name = "MS")]
    interval_ms: u64,
    /// End after so many looks; 0 never ends
    #[arg(long, default_value_t = 0, value_name = "N")]
    count: u64,
}

/// What the last look saw of a symbol, to show which way it went.
#[derive(Clone, Copy, Default, PartialEq)]
struct Seen {
    mantissa: i64,
    sequence: u32,
    status: Option<PriceStatus>,
}

/// Runs the command on standard output: a screen that redraws itself on a terminal, one line
/// per change elsewhere. SIGINT ends it.
pub fn run(args: &WatchArgs) -> anyhow::Result<()> {
    let queries: Vec<_> = read_symbols(&args.symbols)?
        .into_iter()
        .map(PriceQuery::new)
        .collect();
    let mut client = args.link.connect()?;
    let mut out = std::io::stdout().lock();
    let screen = out.is_terminal();
    let mut seen = vec![Seen::default(); queries.len()];
    let mut drawn = 0;
    for look in 1.. {
        match client.prices(&queries) {
            Ok(reply) => {
                if screen {
                    drawn = draw(&mut out, &client, &reply, &seen, drawn)?;
                } else {
                    write_changes(&mut out, &reply, &seen)?;
                }
                seen = reply.prices.iter().map(Seen::of).collect();
            }
            // A server that is gone may come back: say so and go on looking.
            Err(error @ ClientError::Unanswered(_)) => {
                writeln!(out, "{error}")?;
                drawn = 0;
            }
            Err(error) => return Err(error.into()),
        }
        out.flush()?;
        if look == args.count {
            break;
        }
        std::thread::sleep(Duration::from_millis(args.interval_ms));
    }
    Ok(())
}

/// Draws the table over the last one; tells how many lines it took.
fn draw(
    out: &mut impl Write,
    client: &Client,
    reply: &PriceReply,
    seen: &[Seen],
    drawn: u16,
) -> std::io::Result<u16> {
    if drawn > 0 {
        queue!(
            out,
            cursor::MoveToPreviousLine(drawn),
            terminal::Clear(terminal::ClearType::FromCursorDown)
        )?;
    }
    let replayed = reply.prices.iter().find(|price| is_replayed(price));
    let note = replayed.map_or(String::new(), |p| {
        format!("  (a recording: {})", short_time(p.publish_time_ns))
    });
    writeln!(out, "{}{note}", client.server())?;
    for (price, seen) in reply.prices.iter().zip(seen) {
        let text = price.price().map_or("-".to_owned(), |text| text.to_string());
        let band = price
            .confidence_text()
            .map_or(String::new(), |text| format!("+/- {text}"));
        let (arrow, colour) = match price.mantissa.cmp(&seen.mantissa) {
            _ if seen.sequence == 0 || price.sequence == seen.sequence => (' ', Color::Reset),
            std::cmp::Ordering::Greater => ('\u{25b2}', Color::Green),
            std::cmp::Ordering::Less => ('\u{25bc}', Color::Red),
            std::cmp::Ordering::Equal => (' ', Color::Reset),
        };
        let status = if price.status == PriceStatus::Live {
            Color::Green
        } else {
            Color::Yellow
        };
        writeln!(
            out,
            "{:<16} {} {} {:<24} {} {}",
            price.symbol,
            arrow.to_string().with(colour),
            format!("{text:>24}").with(colour),
            band,
            format!("{:<14}", price.status.name()).with(status),
            explain(price.status),
        )?;
    }
    writeln!(out, "round trip {} us", reply.round_trip.as_micros())?;
    Ok(reply.prices.len() as u16 + 2)
}

/// One line for each symbol that changed.
fn write_changes(out: &mut impl Write, reply: &PriceReply, seen: &[Seen]) -> std::io::Result<()> {
    for (price, seen) in reply.prices.iter().zip(seen) {
        if Seen::of(price) != *seen {
            let text = price.price().map_or("-".to_owned(), |text| text.to_string());
            let at = short_time(price.publish_time_ns);
            writeln!(
                out,
                "{} {text} {} {} {at}",
                price.symbol, price.status, price.sequence
            )?;
        }
    }
    Ok(())
}

impl Seen {
    fn of(price: &SymbolPrice) -> Self {
        Self {
            mantissa: price.mantissa,
            sequence: price.sequence,
            status: Some(price.status),
        }
    }
}
