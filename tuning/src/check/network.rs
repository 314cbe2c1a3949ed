//! Sockets: buffers, offloads, backlogs, ports.

use super::{Check, How, Plan, Verdict, bytes, host_sysctl, namespaced_sysctl, shown};
use crate::facts::{Facts, Place, Port, Reading};

/// Receive buffer below which a pause of a millisecond loses datagrams, bytes as the kernel counts.
const SMALL_BUFFER: u64 = 1 << 20;
/// Bytes that the kernel counts for one datagram of a price request's size in a receive buffer.
const DATAGRAM_COUNTED: u64 = 832;
/// Packets that may wait for a CPU before the network stack takes them.
const DEVICE_BACKLOG: u64 = 10_000;

pub(super) fn checks(facts: &Facts, plan: &Plan) -> Vec<Check> {
    let mut checks = vec![
        receive_buffer(facts, plan),
        send_buffer(facts, plan),
        steering(facts, plan),
        segmentation(facts),
        coalescing(facts),
        listen_backlog(facts, plan),
        device_backlog(facts),
    ];
    if !facts.net.ports.is_empty() {
        checks.push(ports(&facts.net.ports));
    }
    checks
}

/// All that was asked for is a note-free socket; on Fargate less is nobody's fault.
fn buffer(facts: &Facts, granted: &Reading<u64>, asked: u64) -> Verdict {
    match granted {
        Reading::Unknown(_) => Verdict::Note,
        // The kernel counts twice of what it grants, for its own overhead (socket(7)).
        Reading::Known(granted) if *granted >= asked.saturating_mul(2) => Verdict::Ok,
        Reading::Known(granted) if *granted >= SMALL_BUFFER => Verdict::Note,
        Reading::Known(_) => Verdict::Warn.where_it_can_be_changed(facts.place.kind != Place::Fargate),
    }
}

fn receive_buffer(facts: &Facts, plan: &Plan) -> Check {
    let asked = plan.needs.buffer_bytes;
    let held = match &facts.net.datagrams_held {
        Some(Reading::Known(held)) => Some(*held),
        _ => facts
            .net
            .granted_receive_bytes
            .known()
            .map(|granted| granted / DATAGRAM_COUNTED),
    };
    let room = held.map_or_else(String::new, |held| {
        format!(", {held} datagrams or {:.1} ms at 200,000/s", held as f64 / 200.0)
    });
    Check {
        name: "receive-buffer",
        found: shown(&facts.net.granted_receive_bytes, |granted| {
            format!("{}{room}", bytes(*granted))
        }),
        wanted: format!("{} (twice what is asked)", bytes(asked * 2)),
        verdict: buffer(facts, &facts.net.granted_receive_bytes, asked),
        why: "what arrives while a shard is busy or throttled waits here, and is dropped when it is full \
              (trinity_shard_receive_drops_total)"
            .to_owned(),
        how: host_sysctl("net.core.rmem_max", asked),
    }
}

fn send_buffer(facts: &Facts, plan: &Plan) -> Check {
    let asked = plan.needs.buffer_bytes;
    Check {
        name: "send-buffer",
        found: shown(&facts.net.granted_send_bytes, |granted| bytes(*granted)),
        wanted: format!("{} (twice what is asked)", bytes(asked * 2)),
        verdict: buffer(facts, &facts.net.granted_send_bytes, asked),
        why: "replies that the device has not taken wait here; a reply that finds it full is given up"
            .to_owned(),
        how: host_sysctl("net.core.wmem_max", asked),
    }
}

fn trial(reading: &Reading<()>) -> (String, Verdict) {
    match reading {
        Reading::Known(()) => ("works (tried)".to_owned(), Verdict::Ok),
        Reading::Unknown(why) => (format!("refused: {why}"), Verdict::Warn),
    }
}

fn steering(facts: &Facts, plan: &Plan) -> Check {
    let (found, verdict) = trial(&facts.trials.steering);
    Check {
        name: "steering",
        found,
        wanted: "SO_ATTACH_REUSEPORT_CBPF".to_owned(),
        verdict: if plan.shards == 1 { Verdict::Ok } else { verdict },
        why: "requests find their shard by their lane byte, so one busy client is spread over all cores; without it the \
              kernel's flow hash decides, and one client is one core's"
            .to_owned(),
        how: How::everywhere("Linux 4.5 or later, and a seccomp profile that allows setsockopt"),
    }
}

fn segmentation(facts: &Facts) -> Check {
    let (found, verdict) = trial(&facts.trials.segmentation);
    Check {
        name: "segmentation",
        found,
        wanted: "UDP_SEGMENT".to_owned(),
        verdict,
        why: "replies to one peer leave as one message that the kernel cuts up: about 1.0 us a request instead of 1.6"
            .to_owned(),
        how: How::everywhere("Linux 4.18 or later; a device that cannot checksum refuses it (ethtool -k)"),
    }
}

fn coalescing(facts: &Facts) -> Check {
    let (found, verdict) = trial(&facts.trials.coalescing);
    Check {
        name: "coalescing",
        found,
        wanted: "UDP_GRO".to_owned(),
        verdict,
        why: "requests of one flow arrive as one message: what a client sends in trains costs 0.05 us of kernel time \
              a request instead of 1.6"
            .to_owned(),
        how: How::everywhere("Linux 5.0 or later"),
    }
}

fn listen_backlog(facts: &Facts, plan: &Plan) -> Check {
    let wanted = plan.needs.listen_backlog;
    Check {
        name: "listen-backlog",
        found: shown(&facts.net.somaxconn, |found| format!("somaxconn {found}")),
        wanted: wanted.to_string(),
        verdict: match facts.net.somaxconn.known() {
            Some(found) if *found >= wanted => Verdict::Ok,
            Some(found) if *found >= 1_024 => Verdict::Note,
            Some(_) => Verdict::Warn,
            None => Verdict::Note,
        },
        why: "HTTP connections that come faster than they are accepted wait here; beyond it they are refused"
            .to_owned(),
        how: namespaced_sysctl("net.core.somaxconn", wanted),
    }
}

fn device_backlog(facts: &Facts) -> Check {
    Check {
        name: "device-backlog",
        found: shown(&facts.net.netdev_max_backlog, |found| {
            format!("netdev_max_backlog {found}")
        }),
        wanted: DEVICE_BACKLOG.to_string(),
        verdict: match facts.net.netdev_max_backlog.known() {
            Some(found) if *found >= DEVICE_BACKLOG => Verdict::Ok,
            _ => Verdict::Note,
        },
        why: "packets wait here for a CPU on loopback and where the kernel spreads them (RPS); a network card's own \
              queues do not pass it"
            .to_owned(),
        how: host_sysctl("net.core.netdev_max_backlog", DEVICE_BACKLOG),
    }
}

fn ports(ports: &[Port]) -> Check {
    let name = |port: &Port| format!("{} {}", port.protocol, port.number);
    let names = |ports: &mut dyn Iterator<Item = &Port>| ports.map(name).collect::<Vec<_>>().join(", ");
    let taken = names(&mut ports.iter().filter(|port| port.taken.is_some()));
    Check {
        name: "ports",
        verdict: if taken.is_empty() {
            Verdict::Ok
        } else {
            Verdict::Note
        },
        found: if taken.is_empty() {
            "free".to_owned()
        } else {
            format!("taken: {taken}")
        },
        wanted: format!("{} free", names(&mut ports.iter())),
        why: "where a node listens unless it is told otherwise; perhaps one runs here already".to_owned(),
        how: How::new(
            "stop what listens there (ss -lunp, ss -ltnp), or choose others: UDP_PORT_LPO, TCP_PORT_LPO, \
             TCP_PORT_OPS",
            "the same",
            "each task has its own address (awsvpc); two containers of one task share the ports",
        ),
    }
}
