//! A flood: a second thread on the loading CPU that sends what nobody may send, at full speed.

use std::fmt;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Context;
use socket2::{Domain, Protocol, Socket, Type};
use trinity_beast::clock;
use trinity_beast::shard::driver::cpus;
use trinity_protocol::{KeyId, MAX_DATAGRAM, MacKeys, PriceQuery, RequestHead, RequestId, Verifier};

use crate::burst::{BATCH, Burst};
use crate::load::Plan;
use crate::measure::{self, Cores, Measurement};
use crate::population::{self, Draw, Population};
use crate::target::{Side, Tables, Target};

/// What a flood is made of, 80 bytes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flood {
    /// Random bytes.
    Garbage,
    /// Requests of a key that the server does not know.
    Unknown,
    /// Requests of a key that it knows, with wrong tags.
    Forged,
}

impl Flood {
    pub(crate) const ALL: [Self; 3] = [Self::Garbage, Self::Unknown, Self::Forged];

    fn write(
        self,
        slot: &mut [u8; MAX_DATAGRAM],
        counter: u32,
        population: &Population,
        draw: &mut Draw,
    ) -> usize {
        let stranger = MacKeys::from_verifier(&Verifier::from_bytes([0xF1; 32])).request;
        let key_id = match self {
            Self::Forged => population.keys[0].key_id,
            // The population's keys are drawn from half of all numbers.
            Self::Garbage | Self::Unknown => KeyId(u64::MAX),
        };
        let head = RequestHead {
            key_id,
            request_id: RequestId::new(1, counter),
            lane: 0,
            clock_ns: clock::unix_nanos(),
        };
        let query = PriceQuery::new(population.symbols[0]);
        let len = trinity_protocol::encode_price_request(slot, head, &[query], &stranger).len();
        if self == Self::Garbage {
            for word in slot[..len].chunks_mut(8) {
                word.copy_from_slice(&draw.bits().to_le_bytes()[..word.len()]);
            }
        }
        len
    }
}

impl fmt::Display for Flood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Garbage => "garbage",
            Self::Unknown => "unknown",
            Self::Forged => "forged",
        })
    }
}

/// Measures authenticated clients beside a flood. It is aimed at the server, or, for comparison,
/// at a socket that nobody reads: then the loading CPU has just as much to do.
pub(crate) fn measure(
    side: Side,
    plan: &Plan,
    population: &Population,
    tables: &Tables,
    cores: &Cores,
    flood: Flood,
    aimed: bool,
) -> anyhow::Result<Measurement> {
    let unread = UdpSocket::bind("127.0.0.1:0").context("binding the socket that nobody reads")?;
    let target = Target::start(side, &cores.serving, tables)?;
    let victim = if aimed {
        target.address
    } else {
        unread.local_addr()?
    };
    let stop = AtomicBool::new(false);
    let (load, flooded) = thread::scope(|scope| {
        let flooder = scope.spawn(|| -> anyhow::Result<u64> {
            cpus::pin(cores.loading)?;
            run(victim, flood, population, &stop)
        });
        let expected = measure::expected(side);
        let load = measure::load_from(
            cores.loading,
            target.address,
            expected,
            plan,
            population,
            &target.times,
        );
        stop.store(true, Ordering::Relaxed);
        let flooded = flooder
            .join()
            .map_err(|_| anyhow::anyhow!("the flood's thread panicked"));
        anyhow::Ok((load?, flooded??))
    })?;
    let life = crate::cpu_time::total(&target.times)?;
    let granted = target.granted;
    let account = target.stop()?;
    let name = if aimed {
        format!("{side}-{flood}")
    } else {
        format!("{side}-unread")
    };
    let mut measured = Measurement::new(name, plan, &load, account, Some(granted)).overloaded(plan);
    measured.flood_datagrams = Some(flooded);
    measured.server_cpu_ns_per_datagram = account
        .filter(|account| account.received > 0)
        .map(|account| life.on_cpu.as_nanos() as f64 / account.received as f64);
    Ok(measured)
}

/// Sends until told to stop; tells how many datagrams the kernel took.
fn run(victim: SocketAddr, flood: Flood, population: &Population, stop: &AtomicBool) -> anyhow::Result<u64> {
    let socket = Socket::new(
        Domain::for_address(victim),
        Type::DGRAM.cloexec(),
        Some(Protocol::UDP),
    )?;
    // What is answered is not read.
    socket.set_recv_buffer_size(4_096)?;
    socket.connect(&victim.into())?;
    let mut burst = Burst::connected();
    let mut draw = Draw::seeded(population::random());
    for index in 0..BATCH {
        let len = flood.write(burst.slot(index), index as u32, population, &mut draw);
        burst.set_len(index, len);
    }
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        sent += burst.send(&socket, BATCH).context("flooding")? as u64;
    }
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use trinity_protocol::{RequestView, request::Refusal};

    use super::*;

    #[test]
    fn no_flood_passes_for_a_customer() {
        let population = Population::new(2, 2).expect("drawn");
        let mut draw = Draw::seeded(7);
        let mut datagram = [0; MAX_DATAGRAM];
        for flood in Flood::ALL {
            let len = flood.write(&mut datagram, 5, &population, &mut draw);
            assert_eq!(len, 80);
            let view = RequestView::parse(&datagram[..len]);
            let owner = view.as_ref().ok().and_then(|view| {
                population
                    .keys
                    .iter()
                    .find(|caller| caller.key_id == view.key_id())
            });
            match flood {
                Flood::Garbage => assert_eq!(view.err(), Some(Refusal::Magic)),
                Flood::Unknown => assert!(view.is_ok() && owner.is_none()),
                Flood::Forged => {
                    let owner = owner.expect("a key that the server knows");
                    assert!(!view.expect("well-formed").verify(&owner.mac.request));
                }
            }
        }
    }
}
