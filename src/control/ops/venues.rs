//! The venues' part of `/metrics`.

use super::Ops;
use super::exposition::{Exposition, seconds};
use crate::control::live::{RestResult, VenueFacts};
use crate::control::ops::Fact;
use crate::market::feed::CloseReason;
use crate::market::quote::RejectReason;
use crate::market::venue::{EventKind, Reason};

/// One number of a venue.
type Pick = fn(&VenueFacts) -> &Fact;

/// The numbers of one label's values, in their order.
type Row = fn(&VenueFacts) -> &[Fact];

pub(super) fn render(out: &mut Exposition, ops: &Ops, now_ns: u64) {
    let feeds = &ops.market.venues;
    if feeds.is_empty() {
        return;
    }
    let mut family = out.gauge(
        "trinity_venue_up",
        "Whether a venue's stream brings quotes that say something new.",
    );
    for facts in feeds {
        family.sample(&[("venue", &facts.venue)], u8::from(facts.is_up()));
    }
    let gauges: [(&'static str, &str, Pick); 5] = [
        (
            "trinity_venue_connections",
            "WebSocket connections that are open.",
            |f| &f.connections_up,
        ),
        (
            "trinity_venue_connections_wanted",
            "WebSocket connections that should be open.",
            |f| &f.connections_wanted,
        ),
        (
            "trinity_venue_instruments",
            "Instruments a venue is asked for.",
            |f| &f.instruments,
        ),
        (
            "trinity_venue_instruments_confirmed",
            "Instruments whose subscription the venue confirmed.",
            |f| &f.confirmed,
        ),
        (
            "trinity_venue_instruments_refused",
            "Instruments the venue refused.",
            |f| &f.refused,
        ),
    ];
    for (name, help, pick) in gauges {
        let mut family = out.gauge(name, help);
        for facts in feeds {
            family.sample(&[("venue", &facts.venue)], pick(facts).get());
        }
    }
    let ages: [(&'static str, &str, Pick); 2] = [
        (
            "trinity_venue_frame_age_seconds",
            "Time since a venue's stream last sent anything.",
            |f| &f.last_frame_ns,
        ),
        (
            "trinity_venue_news_age_seconds",
            "Time since a venue's stream last sent a quote that said something new.",
            |f| &f.last_news_ns,
        ),
    ];
    for (name, help, pick) in ages {
        let mut family = out.gauge(name, help);
        for facts in feeds {
            let age_ns = ops.age_ns(pick(facts).get(), now_ns);
            family.sample(&[("venue", &facts.venue)], seconds(age_ns));
        }
    }
    let mut family = out.gauge(
        "trinity_venue_circuit_open",
        "Whether a venue is left alone after failures, or because it asked for it.",
    );
    for facts in feeds {
        for (side, until) in [
            ("stream", &facts.stream_open_until_ns),
            ("rest", &facts.rest_open_until_ns),
        ] {
            let open = u8::from(until.get() > now_ns);
            family.sample(&[("venue", &facts.venue), ("side", &side)], open);
        }
    }
    let counters: [(&'static str, &str, Pick); 6] = [
        ("trinity_venue_quotes_accepted_total", "Quotes taken.", |f| {
            &f.taken
        }),
        (
            "trinity_venue_missing_messages_total",
            "Messages that a venue's own numbers say are missing.",
            |f| &f.missing,
        ),
        (
            "trinity_venue_connect_failures_total",
            "Connections that could not be opened.",
            |f| &f.connect_failures,
        ),
        (
            "trinity_venue_circuit_trips_total",
            "Times a circuit opened.",
            |f| &f.trips,
        ),
        (
            "trinity_venue_quotes_withdrawn_total",
            "Quotes taken out of the price because their connection was mute or dead.",
            |f| &f.withdrawn,
        ),
        (
            "trinity_venue_resubscribed_total",
            "Instruments subscribed to anew because they alone were silent.",
            |f| &f.resubscribed,
        ),
    ];
    for (name, help, pick) in counters {
        let mut family = out.counter(name, help);
        for facts in feeds {
            family.sample(&[("venue", &facts.venue)], pick(facts).get());
        }
    }
    by_label(
        out,
        feeds,
        ("trinity_venue_events_total", "What venues sent, by kind."),
        "kind",
        &EventKind::ALL.map(EventKind::name),
        |f| &f.events,
    );
    by_label(
        out,
        feeds,
        (
            "trinity_venue_invalid_total",
            "Frames and parts of frames that were not understood, by reason.",
        ),
        "reason",
        &Reason::ALL.map(Reason::name),
        |f| &f.invalid,
    );
    by_label(
        out,
        feeds,
        (
            "trinity_venue_quotes_rejected_total",
            "Quotes turned away, by reason.",
        ),
        "reason",
        &RejectReason::ALL.map(RejectReason::name),
        |f| &f.rejected,
    );
    by_label(
        out,
        feeds,
        (
            "trinity_venue_connections_ended_total",
            "WebSocket connections that ended, by reason.",
        ),
        "reason",
        &CloseReason::ALL.map(CloseReason::name),
        |f| &f.closed,
    );
    by_label(
        out,
        feeds,
        ("trinity_venue_rest_requests_total", "REST requests, by result."),
        "result",
        &RestResult::ALL.map(RestResult::name),
        |f| &f.rest,
    );
    let mut family = out.histogram(
        "trinity_venue_visible_seconds",
        "Time from a frame's arrival in this process to its prices being visible to readers.",
    );
    for facts in feeds {
        family.latencies(&[("venue", &facts.venue)], &facts.visible);
    }
}

fn by_label(
    out: &mut Exposition,
    feeds: &[VenueFacts],
    (name, help): (&'static str, &str),
    label: &'static str,
    values: &[&'static str],
    row: Row,
) {
    let mut family = out.counter(name, help);
    for facts in feeds {
        for (value, count) in values.iter().zip(row(facts)) {
            family.sample(&[("venue", &facts.venue), (label, value)], count.get());
        }
    }
}
