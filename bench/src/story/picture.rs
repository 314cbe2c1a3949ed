//! `picture`: a recording as one symbol's market and what the oracle made of it.
//!
//! Above, every venue's quote in the symbol's currency (those that were rejected as crosses),
//! the price and the band of its confidence. Below, on the same clock, the status as a strip of
//! colour, how many venues stood behind the price, and the flags while they were up.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Args;
use plotters::prelude::RGBColor;
use trinity_beast::cli::output::short_time;
use trinity_beast::market::venue::VenueId;
use trinity_beast::market::{Disposition, Explanation};
use trinity_protocol::{PriceFlags, PriceStatus};

use super::paint::{self, Colour, FAINT, GREY, Hold, INK, Sheet};
use super::scale::{self, Scale};
use super::{Moment, Scene};

const WIDTH: u32 = 1_400;
/// The market's frame.
const LEFT: i32 = 96;
const RIGHT: i32 = 1_354;
const TOP: i32 = 96;
const BOTTOM: i32 = 640;
/// The strips below it.
const STRIP: i32 = 22;
const STRIP_GAP: i32 = 10;

/// Told apart by people who see few colours too (Okabe and Ito).
pub(crate) const VENUE_COLOURS: [Colour; 8] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x8c, 0x56, 0x4b),
    RGBColor(0x99, 0x99, 0x33),
];

const PRICE: Colour = INK;
const BAND: Colour = RGBColor(0x55, 0x55, 0x55);

/// A quote this many price ranges away is shown at the frame's edge.
const MOST_STRETCH: f64 = 1.0;

#[derive(Args, Debug)]
pub(crate) struct PictureArgs {
    #[command(flatten)]
    scene: Scene,
    /// Where the picture goes
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) out: PathBuf,
}

/// Everything that is drawn.
struct Story {
    from_ns: u64,
    to_ns: u64,
    name: String,
    title: String,
    quotes: BTreeMap<VenueId, Vec<Dot>>,
    prices: Vec<Price>,
    states: Vec<State>,
    /// A longer silence breaks a line.
    gap_ns: u64,
}

#[derive(Clone, Copy)]
struct Dot {
    at_ns: u64,
    price: f64,
    disposition: Disposition,
}

#[derive(Clone, Copy)]
struct Price {
    at_ns: u64,
    value: f64,
    confidence: f64,
}

/// From this moment on.
#[derive(Clone, Copy, PartialEq)]
struct State {
    at_ns: u64,
    status: PriceStatus,
    venues: u8,
    flags: PriceFlags,
}

/// Runs the command.
pub(crate) fn run(args: &PictureArgs) -> anyhow::Result<()> {
    let text = args.paint()?;
    std::fs::write(&args.out, text).with_context(|| format!("cannot write {}", args.out.display()))?;
    println!("{}", args.out.display());
    Ok(())
}

impl PictureArgs {
    /// The picture as SVG.
    pub(crate) fn paint(&self) -> anyhow::Result<String> {
        let story = Story::of(&self.scene)?;
        paint::sheet((WIDTH, story.foot() as u32 + 70), |sheet| story.draw(sheet))
    }
}

impl Story {
    fn of(scene: &Scene) -> anyhow::Result<Self> {
        let (from_ns, to_ns) = (scene.from.unwrap_or(0), scene.to.unwrap_or(u64::MAX));
        ensure!(from_ns < to_ns, "--from is not before --to");
        let mut story = Self {
            from_ns,
            to_ns,
            name: String::new(),
            title: scene.open()?.header().title.clone(),
            quotes: BTreeMap::new(),
            prices: Vec::new(),
            states: Vec::new(),
            gap_ns: 0,
        };
        let (mut first, mut last) = (None, 0);
        // Newest quote of each venue that is drawn already.
        let mut drawn: BTreeMap<VenueId, (u64, Disposition)> = BTreeMap::new();
        scene.walk(&mut |moment| {
            if moment.at_ns > to_ns {
                return false;
            }
            first = first.or(Some(moment.at_ns).filter(|at_ns| *at_ns >= from_ns));
            last = moment.at_ns;
            story.see(moment, &mut drawn);
            true
        })?;
        // The scene is what was asked for, or as long as the recording.
        story.from_ns = scene
            .from
            .or(first)
            .context("the recording has nothing in that time")?;
        story.to_ns = scene.to.unwrap_or(last).max(story.from_ns + 1);
        story.thin_out();
        ensure!(
            !story.prices.is_empty() || !story.quotes.is_empty(),
            "{} was not quoted in that time",
            story.name
        );
        Ok(story)
    }

    fn see(&mut self, moment: &Moment<'_>, drawn: &mut BTreeMap<VenueId, (u64, Disposition)>) {
        let Explanation {
            price,
            venues,
            symbol,
            ..
        } = moment.explanation;
        let spec = moment.table.symbol(*symbol);
        let unit = 10f64.powi(spec.exponent.into());
        if self.name.is_empty() {
            self.name = spec.name.to_string();
            self.gap_ns = u64::from(spec.max_age_ms) * 1_000_000;
        }
        let state = State {
            at_ns: moment.at_ns.max(self.from_ns),
            status: price.status,
            venues: price.venues_used,
            flags: price.flags,
        };
        let same = |known: &State| {
            State {
                at_ns: state.at_ns,
                ..*known
            } == state
        };
        if moment.at_ns < self.from_ns {
            // Only what stands when the scene begins.
            self.states = vec![state];
        } else if !self.states.last().is_some_and(same) {
            self.states.push(state);
        }
        if moment.at_ns < self.from_ns {
            return;
        }
        if price.status.has_value() && price.mantissa > 0 {
            self.prices.push(Price {
                at_ns: moment.at_ns,
                value: price.mantissa as f64 * unit,
                confidence: price.confidence as f64 * unit,
            });
        }
        for part in venues.iter().filter(|part| part.price > 0) {
            let news = (part.receive_time_ns, part.disposition);
            if drawn.insert(part.venue, news) != Some(news) {
                self.quotes.entry(part.venue).or_default().push(Dot {
                    at_ns: moment.at_ns,
                    price: part.price as f64 * unit,
                    disposition: part.disposition,
                });
            }
        }
    }

    /// Keeps one point a pixel of each line: more cannot be seen. A rejection is kept before
    /// anything else in its pixel.
    fn thin_out(&mut self) {
        let pixel_ns = ((self.to_ns - self.from_ns) / (RIGHT - LEFT) as u64).max(1);
        let pixel = |at_ns: u64| at_ns / pixel_ns;
        self.prices.dedup_by(|later, kept| {
            let one = pixel(later.at_ns) == pixel(kept.at_ns);
            if one {
                *kept = *later;
            }
            one
        });
        for dots in self.quotes.values_mut() {
            dots.dedup_by(|later, kept| {
                let one = pixel(later.at_ns) == pixel(kept.at_ns);
                if one && kept.disposition.is_used() {
                    *kept = *later;
                }
                one
            });
        }
        self.gap_ns = self.gap_ns.max(3 * pixel_ns);
    }

    /// The prices that the frame must hold: the band whole, quotes as far as they are near it.
    fn range(&self) -> (f64, f64) {
        let widen = |(low, high): (f64, f64), value: f64| (low.min(value), high.max(value));
        let nothing = (f64::MAX, f64::MIN);
        let mut band = nothing;
        for price in &self.prices {
            band = widen(
                widen(band, price.value - price.confidence),
                price.value + price.confidence,
            );
        }
        let dots = self.quotes.values().flatten();
        if band == nothing {
            band = dots.clone().fold(nothing, |range, dot| widen(range, dot.price));
        }
        let stretch = (band.1 - band.0) * MOST_STRETCH;
        let (low, high) = dots
            .filter(|dot| dot.price > band.0 - stretch && dot.price < band.1 + stretch)
            .fold(band, |range, dot| widen(range, dot.price));
        let margin = ((high - low) * 0.04).max(high.abs() * 1e-6);
        (low - margin, high + margin)
    }

    fn draw(&self, sheet: &Sheet<'_>) {
        let (low, high) = self.range();
        let x = Scale::new(self.from_ns as f64, self.to_ns as f64, LEFT, RIGHT);
        let y = Scale::new(low, high, BOTTOM, TOP);
        let foot = self.foot();
        self.heading(sheet);
        for tick in scale::values(low, high, 8) {
            let at = y.at(tick.at);
            sheet.line(vec![(LEFT, at), (RIGHT, at)], FAINT, 1);
            sheet.text(&tick.text, (LEFT - 8, at), Hold::Right, 15, INK);
        }
        for tick in scale::times(self.from_ns, self.to_ns, 10) {
            let at = x.at(tick.at);
            let colour = if tick.strong { GREY } else { FAINT };
            sheet.line(vec![(at, TOP), (at, foot)], colour, 1);
            if tick.strong {
                sheet.bold(&tick.text, (at, foot + 14), Hold::Middle, 15);
            } else {
                sheet.text(&tick.text, (at, foot + 14), Hold::Middle, 15, INK);
            }
        }
        sheet.text("UTC", (LEFT - 48, foot + 14), Hold::Right, 15, INK);
        let quote = self.name.rsplit('-').next().unwrap_or_default();
        sheet.upright(&format!("price in {quote}"), (18, i32::midpoint(TOP, BOTTOM)), 15);
        self.band(sheet, x, y);
        for (at, (_, dots)) in self.quotes.iter().enumerate() {
            self.venue(sheet, x, y, dots, VENUE_COLOURS[at % VENUE_COLOURS.len()]);
        }
        for run in runs(&self.prices, |a, b| b.at_ns - a.at_ns <= self.gap_ns) {
            let points = run
                .iter()
                .map(|price| (x.at(price.at_ns as f64), y.at(price.value)));
            sheet.line(points.collect(), PRICE, 2);
        }
        sheet.frame((LEFT, TOP), (RIGHT, BOTTOM), GREY);
        self.status(sheet, x);
        self.legend(sheet, foot + 46);
    }

    fn heading(&self, sheet: &Sheet<'_>) {
        let when = format!("{} to {}", short_time(self.from_ns), short_time(self.to_ns));
        sheet.bold(&format!("{}, {when}", self.name), (LEFT, 24), Hold::Left, 22);
        sheet.text(
            &clipped(&self.title, RIGHT - LEFT),
            (LEFT, 50),
            Hold::Left,
            15,
            GREY,
        );
        let mut at = LEFT;
        let mut entry = |text: &str, mark: &dyn Fn(i32)| {
            mark(at);
            sheet.text(text, (at + 30, 76), Hold::Left, 15, INK);
            at += 30 + width(text) + 26;
        };
        entry("price", &|at| sheet.line(vec![(at, 76), (at + 24, 76)], PRICE, 3));
        entry("its confidence", &|at| {
            sheet.area(vec![(at, 69), (at + 24, 69), (at + 24, 83), (at, 83)], BAND, 0.25);
        });
        for (i, venue) in self.quotes.keys().enumerate() {
            let colour = VENUE_COLOURS[i % VENUE_COLOURS.len()];
            entry(venue.spec().title, &|at| {
                sheet.line(vec![(at, 76), (at + 24, 76)], colour, 2);
                sheet.dot((at + 12, 76), colour, 1.0, 3);
            });
        }
        let rejected = self
            .quotes
            .values()
            .flatten()
            .any(|dot| !dot.disposition.is_used());
        if rejected {
            entry("a quote that was rejected", &|at| {
                sheet.cross((at + 12, 76), INK, 5);
            });
        }
    }

    fn band(&self, sheet: &Sheet<'_>, x: Scale, y: Scale) {
        for run in runs(&self.prices, |a, b| b.at_ns - a.at_ns <= self.gap_ns) {
            let edge = |price: &Price, sign: f64| {
                (
                    x.at(price.at_ns as f64),
                    y.at(price.value + sign * price.confidence).clamp(TOP, BOTTOM),
                )
            };
            let above = run.iter().map(|price| edge(price, 1.0));
            let below = run.iter().rev().map(|price| edge(price, -1.0));
            sheet.area(above.chain(below).collect(), BAND, 0.25);
        }
    }

    fn venue(&self, sheet: &Sheet<'_>, x: Scale, y: Scale, dots: &[Dot], colour: Colour) {
        let at = |dot: &Dot| (x.at(dot.at_ns as f64), y.at(dot.price).clamp(TOP, BOTTOM));
        for run in runs(dots, |a, b| b.at_ns - a.at_ns <= self.gap_ns) {
            if run.len() == 1 {
                sheet.dot(at(&run[0]), colour, 0.9, 1);
            }
            sheet.faint_line(run.iter().map(at).collect(), colour, 0.85, 1);
        }
        for dot in dots.iter().filter(|dot| !dot.disposition.is_used()) {
            sheet.cross(at(dot), colour, 4);
        }
    }

    /// Rows below the market: status, venues, and one for each flag that was ever up.
    fn strips(&self) -> usize {
        2 + self.flags().count()
    }

    /// Where the strips end.
    fn foot(&self) -> i32 {
        BOTTOM + STRIP_GAP + self.strips() as i32 * (STRIP + STRIP_GAP)
    }

    fn flags(&self) -> impl Iterator<Item = (PriceFlags, &'static str)> {
        PriceFlags::NAMED.into_iter().filter(|(flag, name)| {
            *name != "replayed" && self.states.iter().any(|state| state.flags.contains(*flag))
        })
    }

    fn status(&self, sheet: &Sheet<'_>, x: Scale) {
        let row = |n: i32| {
            let top = BOTTOM + STRIP_GAP + n * (STRIP + STRIP_GAP);
            (top, top + STRIP)
        };
        let label = |n: i32, text: &str| {
            sheet.text(text, (LEFT - 8, row(n).0 + STRIP / 2), Hold::Right, 15, INK);
        };
        let ends = self
            .states
            .iter()
            .skip(1)
            .map(|state| state.at_ns)
            .chain([self.to_ns]);
        let spans: Vec<_> = self.states.iter().zip(ends).collect();
        let most = self
            .states
            .iter()
            .map(|state| state.venues)
            .max()
            .unwrap_or(1)
            .max(1);
        label(0, "status");
        label(1, &format!("venues (of {most})"));
        for (state, end_ns) in &spans {
            let (from, to) = (x.at(state.at_ns as f64), x.at(*end_ns as f64));
            // A state of less than a pixel is seen, if it is worse than LIVE.
            let to = if state.status == PriceStatus::Live {
                to
            } else {
                to.max(from + 1)
            };
            let (top, bottom) = row(0);
            if to > from {
                sheet.block((from, top), (to, bottom), status_colour(state.status));
            }
            let (top, bottom) = row(1);
            let height = STRIP * i32::from(state.venues) / i32::from(most);
            if to > from && height > 0 {
                sheet.block((from, bottom - height), (to, bottom), RGBColor(0x9d, 0xb4, 0xc8));
            }
            debug_assert!(top < bottom);
        }
        for (n, (flag, name)) in self.flags().enumerate() {
            let n = n as i32 + 2;
            label(n, name);
            for (state, end_ns) in spans.iter().filter(|(state, _)| state.flags.contains(flag)) {
                let (from, to) = (x.at(state.at_ns as f64), x.at(*end_ns as f64));
                let (top, bottom) = row(n);
                sheet.block((from, top + 4), (to.max(from + 1), bottom - 4), flag_colour(flag));
            }
        }
        for n in 0..self.strips() as i32 {
            sheet.frame((LEFT, row(n).0), (RIGHT, row(n).1), FAINT);
        }
    }

    fn legend(&self, sheet: &Sheet<'_>, middle: i32) {
        let mut at = LEFT;
        sheet.text("status:", (at - 8, middle), Hold::Right, 15, INK);
        for status in PriceStatus::ALL {
            if status == PriceStatus::UnknownSymbol {
                continue;
            }
            let seen = self.states.iter().any(|state| state.status == status);
            let colour = status_colour(status);
            sheet.block((at, middle - 8), (at + 22, middle + 8), colour);
            sheet.frame((at, middle - 8), (at + 22, middle + 8), GREY);
            let text = if seen {
                status.name().to_owned()
            } else {
                format!("{} (never)", status.name())
            };
            sheet.text(
                &text,
                (at + 30, middle),
                Hold::Left,
                15,
                if seen { INK } else { GREY },
            );
            at += 30 + width(&text) + 24;
        }
    }
}

/// Cuts points where two neighbours do not belong together.
fn runs<T>(points: &[T], together: impl Fn(&T, &T) -> bool) -> impl Iterator<Item = &[T]> {
    points.chunk_by(together)
}

/// As much of a text as there is room for.
fn clipped(text: &str, room: i32) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        kept.push(c);
        if width(&kept) > room - 20 {
            break;
        }
    }
    kept + "..."
}

/// About how wide a text of size 15 is.
fn width(text: &str) -> i32 {
    text.chars()
        .map(|c| match c {
            'i' | 'l' | 'j' | '.' | ',' | ' ' | '(' | ')' => 5,
            'A'..='Z' | 'm' | 'w' | '_' => 11,
            _ => 8,
        })
        .sum()
}

const fn status_colour(status: PriceStatus) -> Colour {
    match status {
        PriceStatus::Live => RGBColor(0x3c, 0x9d, 0x5b),
        PriceStatus::Thin => RGBColor(0xf2, 0xc9, 0x2f),
        PriceStatus::Stale => RGBColor(0x9a, 0x9a, 0x9a),
        PriceStatus::Disputed => RGBColor(0xd6, 0x2f, 0x2f),
        PriceStatus::Held => RGBColor(0x7b, 0x3f, 0xa0),
        PriceStatus::NoPrice | PriceStatus::UnknownSymbol => RGBColor(0xff, 0xff, 0xff),
    }
}

/// A flag that warns stands out from one that only tells.
fn flag_colour(flag: PriceFlags) -> Colour {
    let tells = [
        PriceFlags::DERIVED,
        PriceFlags::ONE_VENUE,
        PriceFlags::SHARED_CACHE,
        PriceFlags::FETCHED,
    ];
    if tells.contains(&flag) {
        RGBColor(0x6b, 0x7f, 0x93)
    } else {
        RGBColor(0xb0, 0x1e, 0x5f)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: PictureArgs,
    }

    fn painted(words: &str) -> anyhow::Result<String> {
        let words = ["picture", "--out", "unused.svg"]
            .into_iter()
            .chain(words.split(' '));
        Line::try_parse_from(words)?.args.paint()
    }

    #[test]
    fn a_picture_names_what_it_shows_and_is_the_same_every_time() {
        let words = "--symbol BTC --from 2023-03-11T00:00Z --to 2023-03-11T06:00Z";
        let picture = painted(words).expect("a picture");
        for told in [
            "BTC-USD",
            "Coinbase",
            "Kraken",
            "Binance.US",
            "LIVE",
            "status",
            "UTC",
            "02:00",
        ] {
            assert!(picture.contains(told), "{told}");
        }
        assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"));
        assert_eq!(painted(words).expect("a picture"), picture);
    }

    #[test]
    fn a_time_without_a_price_is_refused() {
        for words in [
            "--symbol BTC --from 2023-03-11T06:00Z --to 2023-03-11T05:00Z",
            "--symbol BTC --from 2030-03-11T06:00Z",
            "--symbol DOGE-USD",
            "--symbol NOPE",
        ] {
            assert!(painted(words).is_err(), "{words}");
        }
    }
}
