//! Decoding: captured venue messages in, what they say out, one frame after the other.
//!
//! This is the pure core of the command `decode`. A line of the input is one of
//!
//! - cryptofeed's envelope, which our own recordings share:
//!   `{"t":"connect|send|recv|http","conn":..,"ts":<unix s>|"ts_ns":..,"addr"|"url":..,"data"|"b64":..}`,
//!   or shorter `{"ts_ns":..,"venue":..,"data":..}`;
//! - a labelled message: `{"kind":"ticker","src":..,"note":..,"data":"<frame>"}`;
//! - a bare frame.
//!
//! A file may instead be one JSON value over many lines: a frame, a REST body, or
//! `{"init":frame,"updates":[frame..]}`. Memory is bounded by one line, or by that one value.

mod envelope;
mod event;
mod summary;
mod whole;
mod whose;

use std::io::{self, Read};

use data_encoding::BASE64;
use serde::Serialize;

use super::recording::{Line, Lines, MAX_LINE_BYTES};
use super::symbol::SymbolTable;
use super::venue::{Invalid, Parser, Reason, VenueId};
use envelope::{Entry, Payload, Way};

pub use event::EventView;
pub use summary::Summary;
pub use whose::{venue_names, venue_of_name, venue_of_path};

/// One frame and what it says.
#[derive(Debug, Clone, Serialize)]
pub struct Frame<'a> {
    /// The file's name as it was given, `-` for standard input.
    pub file: &'a str,
    /// The line on which the frame begins, from 1.
    pub line: u64,
    /// The first event that is not invalid, else the first: its kind and fields.
    #[serde(flatten)]
    pub first: EventView,
    /// Whose format it is in; a header or a line that cannot be read may be nobody's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub venue: Option<&'static str>,
    /// When the recorder received it, Unix nanoseconds, where the line says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ts_ns: Option<u64>,
    /// What a collection of messages calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The line itself was damaged: what is said of it says nothing about the venue.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub damaged: bool,
    /// All events, if there is more than one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<EventView>,
}

/// How the input is to be read.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The venue of every frame; without it each line or the file's path must tell.
    pub venue: Option<VenueId>,
    /// Bodies of REST answers, whatever the file is called.
    pub rest: bool,
    /// The instrument of REST answers that do not name it, as the stream spells it.
    pub instrument: Option<String>,
}

/// Why a file was not decoded to its end.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It cannot be read, or breaks off.
    #[error("cannot read {file} beyond line {line}: {error}")]
    Read {
        /// Which file.
        file: String,
        /// The last line that was read.
        line: u64,
        /// What the system said.
        error: io::Error,
    },
    /// Nothing says whose frame it is.
    #[error(
        "{file}, line {line}: nothing says which venue sent this; name it with --venue ({})",
        venue_names()
    )]
    NoVenue {
        /// Which file.
        file: String,
        /// Which line.
        line: u64,
    },
    /// What the line says it is from is no venue that can be decoded.
    #[error(
        "{file}, line {line}: `{name}` is no venue that can be decoded; there are {}",
        venue_names()
    )]
    UnknownVenue {
        /// Which file.
        file: String,
        /// Which line.
        line: u64,
        /// What it says.
        name: String,
    },
    /// The frame could not be handed on.
    #[error(transparent)]
    Output(io::Error),
}

/// Where frames go.
pub type FrameSink<'s> = dyn FnMut(&Frame<'_>) -> io::Result<()> + 's;

/// Decodes files one after the other with one set of buffers.
pub struct Decoder {
    options: Options,
    table: SymbolTable,
    parser: Parser,
}

/// What is known of the file that is being read.
struct File<'a> {
    name: &'a str,
    rest: bool,
    venue: Option<VenueId>,
    connections: whose::Connections,
}

impl Decoder {
    /// A decoder that knows the built-in symbols.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            table: SymbolTable::builtin(),
            parser: Parser::new(),
        }
    }

    /// Decodes `input`, plain or gzip, and hands every frame to `sink` in its order.
    ///
    /// `name` is what the file is called: its folders may tell the venue, and one called `rest`
    /// that it holds REST answers. Damaged lines are handed on as such; an error ends the file.
    pub fn decode(
        &mut self,
        name: &str,
        input: impl Read + Send + 'static,
        sink: &mut FrameSink<'_>,
    ) -> Result<(), DecodeError> {
        let unread = |line, error| DecodeError::Read {
            file: name.to_owned(),
            line,
            error,
        };
        let mut file = File {
            name,
            rest: self.options.rest || whose::is_rest(name),
            venue: self.options.venue.or_else(|| venue_of_path(name)),
            connections: whose::Connections::default(),
        };
        let mut lines = Lines::new(input).map_err(|error| unread(0, error))?;
        let mut document = Vec::new();
        let mut first = true;
        loop {
            let before = lines.number();
            let Some(line) = lines.next().map_err(|error| unread(before, error))? else {
                return Ok(());
            };
            let text = match line {
                Line::TooLong => {
                    self.too_long(&file, before + 1, sink)?;
                    first = false;
                    continue;
                }
                Line::Text { text, .. } => text,
            };
            if text.trim_ascii().is_empty() {
                continue;
            }
            if !(std::mem::take(&mut first) && whole::begins(text)) {
                self.document(&mut file, before + 1, text, sink)?;
                continue;
            }
            // One value over many lines.
            document.clear();
            document.extend_from_slice(text);
            let mut depth = whole::Depth::default();
            depth.add(text);
            while depth.is_open() {
                let number = lines.number();
                match lines.next().map_err(|error| unread(number, error))? {
                    Some(Line::Text { text, .. }) if document.len() + text.len() < MAX_LINE_BYTES => {
                        document.push(b'\n');
                        document.extend_from_slice(text);
                        depth.add(text);
                    }
                    Some(_) => {
                        document.clear();
                        break;
                    }
                    None => break,
                }
            }
            if document.is_empty() {
                self.too_long(&file, before + 1, sink)?;
            } else {
                self.document(&mut file, before + 1, &document, sink)?;
            }
        }
    }

    /// One JSON value, or a line that is none.
    fn document(
        &mut self,
        file: &mut File<'_>,
        line: u64,
        text: &[u8],
        sink: &mut FrameSink<'_>,
    ) -> Result<(), DecodeError> {
        if let Some(frames) = whole::init_and_updates(text) {
            for (lines_before, frame) in frames {
                self.entry(file, line + lines_before, &Entry::bare(frame.as_bytes()), sink)?;
            }
            return Ok(());
        }
        self.entry(file, line, &envelope::read(text), sink)
    }

    fn entry(
        &mut self,
        file: &mut File<'_>,
        line: u64,
        entry: &Entry<'_>,
        sink: &mut FrameSink<'_>,
    ) -> Result<(), DecodeError> {
        let mut frame = Frame {
            file: file.name,
            line,
            first: EventView::default(),
            venue: None,
            ts_ns: entry.ts_ns,
            label: entry.label.as_deref().map(str::to_owned),
            damaged: false,
            events: Vec::new(),
        };
        if let Way::Header(format) = &entry.way {
            // A recording's own first line is nobody's frame.
            frame.first = EventView::status(format);
            return sink(&frame).map_err(DecodeError::Output);
        }
        let venue = self.venue(file, line, entry)?;
        frame.venue = Some(venue.name());
        let views = match (&entry.way, &entry.payload) {
            (Way::Connect, _) => vec![EventView::status("connect")],
            (Way::Other(word), _) => vec![EventView::status(word)],
            (_, Payload::None) => {
                frame.damaged = true;
                vec![EventView::invalid(Invalid::field("data", Reason::MissingField))]
            }
            (Way::Send, payload) => {
                let asked = match payload {
                    Payload::Text(text) => self.messages(venue, text),
                    _ => Vec::new(),
                };
                // What was sent is a request, whatever a venue would call it.
                if asked.iter().any(|view| view.kind == "request") {
                    asked
                } else {
                    vec![EventView::request("send")]
                }
            }
            (Way::Receive { rest }, Payload::Text(text)) if *rest || file.rest => {
                self.answer(venue, text, entry.request.as_deref())
            }
            (_, Payload::Text(text)) if entry.label.is_some() => {
                self.message_or_answer(venue, text, entry.request.as_deref())
            }
            (_, Payload::Text(text)) => self.messages(venue, text),
            (_, Payload::Base64(text)) => match BASE64.decode(text.as_bytes()) {
                Ok(bytes) => self.binary(venue, &bytes),
                Err(error) => {
                    frame.damaged = true;
                    vec![EventView::bad_base64(&error.to_string())]
                }
            },
        };
        if entry.bare {
            // The line is the frame: if it is no JSON, the line is damaged.
            let cut = |view: &EventView| matches!(view.reason.as_deref(), Some("not_json" | "not_utf8"));
            frame.damaged = views.iter().any(cut);
        }
        frame.tell(views);
        sink(&frame).map_err(DecodeError::Output)
    }

    /// What a message of the stream says.
    fn messages(&mut self, venue: VenueId, text: &[u8]) -> Vec<EventView> {
        let (table, mut views) = (&self.table, Vec::new());
        let result = self.parser.parse(venue, text, &mut |event| {
            views.push(EventView::of(&event, venue, table))
        });
        told(views, result)
    }

    /// Collections keep REST answers among the messages: what says nothing as a message may say
    /// something as an answer.
    fn message_or_answer(&mut self, venue: VenueId, text: &[u8], request: Option<&str>) -> Vec<EventView> {
        let message = self.messages(venue, text);
        let says_nothing = |view: &EventView| {
            view.kind == "ignored" || view.reason.as_deref() == Some(Reason::UnknownShape.name())
        };
        if !message.iter().all(says_nothing) {
            return message;
        }
        let answer = self.answer(venue, text, request);
        let says = |view: &EventView| matches!(view.kind, "quote" | "trade" | "book" | "error");
        if answer.iter().any(says) { answer } else { message }
    }

    /// What a binary message of the stream says.
    fn binary(&mut self, venue: VenueId, bytes: &[u8]) -> Vec<EventView> {
        let (table, mut views) = (&self.table, Vec::new());
        let result = self.parser.parse_binary(venue, bytes, &mut |event| {
            views.push(EventView::of(&event, venue, table))
        });
        told(views, result)
    }

    /// What a REST answer says.
    fn answer(&mut self, venue: VenueId, body: &[u8], request: Option<&str>) -> Vec<EventView> {
        let named = self.options.instrument.clone();
        let asked = named.or_else(|| whose::instrument(&self.table, venue, request?));
        let views = self.answer_for(venue, body, asked.as_deref());
        let nameless =
            |view: &EventView| view.instrument.is_none() && view.reason.as_deref() == Some("missing_field");
        if asked.is_some() || !views.first().is_some_and(nameless) {
            return views;
        }
        // Nothing says whose it is. It is decoded all the same, as nobody's.
        let nobodys = self.answer_for(venue, body, Some(""));
        if nobodys.iter().all(|view| view.kind == "invalid") {
            views
        } else {
            nobodys
        }
    }

    fn answer_for(&mut self, venue: VenueId, body: &[u8], asked: Option<&str>) -> Vec<EventView> {
        let (table, mut views) = (&self.table, Vec::new());
        let result = self.parser.parse_rest(venue, body, asked, &mut |event| {
            views.push(EventView::of(&event, venue, table));
        });
        told(views, result)
    }

    /// Whose frame this is: what the command line says, then the line, then its connection,
    /// then the file's path.
    fn venue(&self, file: &mut File<'_>, line: u64, entry: &Entry<'_>) -> Result<VenueId, DecodeError> {
        if let Some(venue) = self.options.venue {
            return Ok(venue);
        }
        if let Some(name) = entry.venue.as_deref() {
            return venue_of_name(name).ok_or_else(|| DecodeError::UnknownVenue {
                file: file.name.to_owned(),
                line,
                name: name.to_owned(),
            });
        }
        let of_address = entry.address.as_deref().and_then(whose::venue_of_address);
        let begins = matches!(entry.way, Way::Connect);
        let of_connection = file
            .connections
            .venue(entry.connection.as_deref(), of_address, begins);
        of_address
            .or(of_connection)
            .or(file.venue)
            .ok_or_else(|| DecodeError::NoVenue {
                file: file.name.to_owned(),
                line,
            })
    }

    fn too_long(&self, file: &File<'_>, line: u64, sink: &mut FrameSink<'_>) -> Result<(), DecodeError> {
        let venue = self.options.venue.or(file.venue);
        let frame = Frame {
            file: file.name,
            line,
            first: EventView::invalid(Invalid::frame(Reason::TooLarge)),
            venue: venue.map(VenueId::name),
            ts_ns: None,
            label: None,
            damaged: true,
            events: Vec::new(),
        };
        sink(&frame).map_err(DecodeError::Output)
    }
}

impl Frame<'_> {
    /// Takes what the frame says.
    fn tell(&mut self, mut views: Vec<EventView>) {
        let first = views.iter().position(|view| view.kind != "invalid").unwrap_or(0);
        self.first = views.get(first).cloned().unwrap_or_default();
        if self.first.kind == "book"
            && let Some(quote) = views.iter().find(|view| view.kind == "quote")
        {
            self.first.take_prices(quote);
        }
        if views.len() < 2 {
            views.clear();
        }
        self.events = views;
    }

    /// Everything in the frame that is not as the venue documents it.
    pub fn invalid(&self) -> impl Iterator<Item = &EventView> {
        let only = self.events.is_empty().then_some(&self.first);
        let all = self.events.iter().chain(only);
        all.filter(|view| view.kind == "invalid")
    }
}

/// What a parser said, or why it said nothing.
fn told(views: Vec<EventView>, result: Result<(), Invalid>) -> Vec<EventView> {
    match result {
        Ok(()) => views,
        Err(invalid) => vec![EventView::invalid(invalid)],
    }
}
