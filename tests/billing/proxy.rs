//! A proxy before Postgres that loses what a network may lose, at the worst moment.
//!
//! It reads along with what the database says (PostgreSQL documentation, 55.7 "Message Formats"),
//! so that it knows when a transaction is open and when one was committed.

use std::collections::HashMap;
use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::server::wait_until;

/// A proxy; its connections end with it.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

/// What goes wrong on a connection, and with it the connection ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// In a transaction that copies something in, before it is committed.
    InTransaction,
    /// A transaction that copied something in is committed, and nobody hears of it.
    Acknowledgement,
}

#[derive(Default)]
struct State {
    /// Cuts that are still to be made, and those that were.
    due: [AtomicU64; 2],
    done: [AtomicU64; 2],
    /// The next cut makes the network go away.
    then_gone: AtomicBool,
    /// Nothing passes, and no connection stays.
    gone: AtomicBool,
    ends: AtomicBool,
    connections: Mutex<HashMap<u64, TcpStream>>,
}

/// What has been seen of a transaction.
#[derive(Default)]
struct Watch {
    /// Something was copied in since the last transaction ended.
    copied: bool,
}

/// Requests for encryption, which come before anything else (SSLRequest, GSSENCRequest).
const ENCRYPTION: [u32; 2] = [80_877_103, 80_877_104];

impl Proxy {
    /// Listens on loopback and passes everything on to `database`.
    pub(crate) fn before(database: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for (number, client) in (0..).zip(listener.incoming()) {
                let Ok(client) = client else { continue };
                if shared.ends.load(SeqCst) {
                    return;
                }
                if shared.gone.load(SeqCst) {
                    continue;
                }
                let state = Arc::clone(&shared);
                thread::spawn(move || {
                    let (key, copy) = (number, client.try_clone().expect("a handle"));
                    state.connections.lock().expect("no panic").insert(key, copy);
                    // An end with an error is an end.
                    let _ = pass(&client, database, &state);
                    let _ = client.shutdown(Shutdown::Both);
                    state.connections.lock().expect("no panic").remove(&key);
                });
            }
        });
        Self { address, state }
    }

    /// Cuts one connection in this way, and lets nothing pass after that: whoever was cut off cannot
    /// find out what became of it. Until [`Proxy::is_back`].
    pub(crate) fn cut_and_be_gone(&self, how: Cut) {
        self.state.then_gone.store(true, SeqCst);
        self.cut(how, 1);
    }

    /// Connections are passed on again.
    pub(crate) fn is_back(&self) {
        self.state.gone.store(false, SeqCst);
    }

    /// Cuts so many connections in this way, and waits until it is done.
    pub(crate) fn cut(&self, how: Cut, times: u64) {
        let done = &self.state.done[how as usize];
        let enough = done.load(SeqCst) + times;
        self.state.due[how as usize].fetch_add(times, SeqCst);
        wait_until("connections are cut", || {
            (done.load(SeqCst) >= enough).then_some(())
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ends.store(true, SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
        for connection in self.state.connections.lock().expect("no panic").values() {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl State {
    /// Whether a cut of this kind is due; it counts as made then.
    fn takes(&self, how: Cut) -> bool {
        let due = &self.due[how as usize];
        let took = due.fetch_update(SeqCst, SeqCst, |due| due.checked_sub(1)).is_ok();
        if took {
            if self.then_gone.swap(false, SeqCst) {
                self.gone.store(true, SeqCst);
            }
            self.done[how as usize].fetch_add(1, SeqCst);
        }
        took
    }
}

/// Passes one connection on until either end closes it, or it is cut.
fn pass(client: &TcpStream, database: SocketAddr, state: &State) -> io::Result<()> {
    let upstream = TcpStream::connect(database)?;
    upstream.set_nodelay(true)?;
    client.set_nodelay(true)?;
    begin(client, &upstream)?;
    let (from_client, to_database) = (client.try_clone()?, upstream.try_clone()?);
    thread::spawn(move || {
        // An end with an error is an end.
        let _ = io::copy(&mut &from_client, &mut &to_database);
        let _ = to_database.shutdown(Shutdown::Both);
    });
    let answers = answers(client, &upstream, state);
    // So that the other direction ends as well.
    let _ = upstream.shutdown(Shutdown::Both);
    answers
}

/// Up to the startup message: a request for encryption is answered with one byte, not a message.
fn begin(mut client: &TcpStream, mut upstream: &TcpStream) -> io::Result<()> {
    loop {
        let mut head = [0; 8];
        client.read_exact(&mut head)?;
        upstream.write_all(&head)?;
        let number = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        if number(0) != 8 || !ENCRYPTION.contains(&number(4)) {
            // The rest of the startup message follows.
            return Ok(());
        }
        let mut answer = [0];
        upstream.read_exact(&mut answer)?;
        client.write_all(&answer)?;
        assert_eq!(answer, *b"N", "the proxy cannot look into encrypted connections");
    }
}

/// Passes on what the database says, message by message.
fn answers(mut client: &TcpStream, upstream: &TcpStream, state: &State) -> io::Result<()> {
    let mut upstream = BufReader::new(upstream);
    let mut watch = Watch::default();
    let mut message = vec![0; 5];
    loop {
        message.truncate(5);
        upstream.read_exact(&mut message)?;
        let len = u32::from_be_bytes([message[1], message[2], message[3], message[4]]);
        // The length counts itself, but not the type before it.
        message.resize(1 + len as usize, 0);
        upstream.read_exact(&mut message[5..])?;
        if state.gone.load(SeqCst) || watch.cut(&message).is_some_and(|how| state.takes(how)) {
            return Ok(());
        }
        client.write_all(&message)?;
    }
}

impl Watch {
    /// Which cut this message would be the moment for.
    fn cut(&mut self, message: &[u8]) -> Option<Cut> {
        match (message[0], &message[5..]) {
            // CopyInResponse: rows are wanted.
            (b'G', _) => self.copied = true,
            // CommandComplete.
            (b'C', b"COMMIT\0") if self.copied => return Some(Cut::Acknowledgement),
            (b'C', b"COPY 0\0") => {}
            (b'C', done) if self.copied && done.starts_with(b"COPY ") => return Some(Cut::InTransaction),
            // ReadyForQuery, outside of a transaction.
            (b'Z', b"I") => self.copied = false,
            _ => {}
        }
        None
    }
}
