//! Every queue, batch, table, retry and buffer has its named maximum here, with static
//! assertions between them. A limit that belongs to the wire lives in `trinity-protocol`.

use trinity_protocol::{CLOCK_WINDOW_NS, MAX_DATAGRAM, MAX_ENTRIES};

/// Messages received by one `recvmmsg`, and datagrams answered as one batch. A message may be a
/// train of several datagrams that came joined (UDP_GRO).
pub const BATCH_MESSAGES: usize = 64;
/// Bytes of one receive slot: the longest train there can be, and a cache line more, so that the
/// beginnings of the slots fall into different sets of the caches.
pub const RECEIVE_SLOT_BYTES: usize = (64 << 10) + 64;
/// Bytes that one `recvmmsg` is to bring at most, going by the messages before it: what is received
/// is still in the core's cache when it is answered.
pub const RECEIVE_BYTES: usize = 192 << 10;
/// Socket buffer asked for, bytes each way; the kernel may grant less.
pub const SOCKET_BUFFER_BYTES: usize = 8 << 20;
/// Longest time a shard parks, milliseconds: its heartbeat and its timers stay fresh.
pub const PARK_MS: u64 = 50;
/// A shard whose last turn is older than this is not healthy, milliseconds.
pub const HEARTBEAT_STALE_MS: u64 = 2_000;
/// Most shards one process runs.
pub const MAX_SHARDS: usize = 256;

/// Symbols (with their aliases) one process serves.
pub const MAX_SYMBOLS: usize = 1 << 16;

/// Longest time a request waits for a price that is being fetched, milliseconds from its
/// arrival: its client is promised a reply within 50, and a core may be late by some.
pub const MISS_WAIT_MS: u64 = 42;
/// How long nobody waits for a symbol that could not be fetched, milliseconds, unless a parameter
/// says otherwise.
pub const MISS_NOTHING_MS: u64 = 2_000;
/// The most that a parameter may make of it, milliseconds.
pub const MISS_NOTHING_MAX_MS: u64 = 600_000;
/// How long a symbol that was fetched is not fetched again, milliseconds.
pub const MISS_AGAIN_MS: u64 = 100;
/// A fetch that did not end for this long never will, milliseconds.
pub const MISS_FLIGHT_MS: u64 = 10_000;
/// Symbols that wait to be fetched.
pub const MISS_QUEUE: usize = 1 << 12;
/// Requests that wait in one shard for prices.
pub const PARKED_REQUESTS: usize = 1_024;
/// How often a shard looks whether what its parked requests wait for is there, microseconds.
pub const PARKED_LOOK_US: u64 = 500;
/// Longest time a shard parks its thread while requests are parked in it, milliseconds.
pub const PARK_WAITING_MS: u64 = 1;
/// Requests that wait in one HTTP worker for prices.
pub const HTTP_WAITING: usize = 256;
/// How often a waiting HTTP request looks whether its prices are there, milliseconds.
pub const HTTP_LOOK_MS: u64 = 1;

/// How far the clock of a request may be off, milliseconds, unless a parameter says less. What is
/// remembered of request ids covers no more.
pub const CLOCK_WINDOW_MS: u64 = CLOCK_WINDOW_NS / 1_000_000;
/// Sessions one shard remembers.
pub const SHARD_SESSIONS: usize = 1 << 16;
/// Sessions one key may keep active on one node.
pub const KEY_SESSIONS: u32 = 1 << 15;
/// A session unseen for this long is forgotten, nanoseconds. No datagram of it can still
/// pass the clock check, so forgetting cannot turn a replay into a new request.
pub const SESSION_IDLE_NS: u64 = 2 * CLOCK_WINDOW_NS;
/// Repeats of counted requests that a session may have answered without charge.
pub const REPEATS_BANKED: u16 = 64;
/// Repeats that each newly counted request adds.
pub const REPEATS_PER_REQUEST: u16 = 4;
/// Most repeats a session can bank.
pub const REPEATS_BANK_MAX: u16 = 8_192;
/// Session slots one sweep looks at.
pub const SWEEP_SLOTS: usize = 512;

/// Unsigned error replies one shard sends per second, unless a parameter says otherwise; beyond it
/// there is silence.
pub const UNSIGNED_ERRORS_PER_SECOND: u32 = 10_000;
/// Unsigned error replies one shard may send at once; follows the rate.
pub const UNSIGNED_ERRORS_BURST: u32 = 2_000;

/// OVERLOADED replies that one shard sends per second to requests that it sheds, unless a parameter
/// says otherwise; beyond it there is silence.
pub const OVERLOADED_PER_SECOND: u32 = 5_000;
/// OVERLOADED replies that one shard may send at once; follows the rate.
pub const OVERLOADED_BURST: u32 = 500;
/// After how many full batches in a row a shard looks how much still waits in its socket.
pub const PRESSURE_BATCHES: u32 = 8;
/// Longest time a shard may be told to spin before it parks, microseconds.
pub const SPIN_MAX_US: u64 = 10_000;

/// Request rows (key, second, protocol, outcome) of one usage page.
pub const METER_REQUEST_ROWS: usize = 1 << 17;
/// Symbol rows (key, symbol, second, status) of one usage page.
pub const METER_SYMBOL_ROWS: usize = 3 << 13;
/// Entries that a meter keeps back to count them on its page side by side.
pub const METER_SYMBOLS_WAITING: usize = 128;
/// Usage pages that circulate between one meter and the control plane.
pub const METER_PAGES: usize = 4;
/// Usage journals of dead processes that may wait for the ledger in one directory. Each keeps what
/// its rows need on the disk, at most its whole size.
pub const MAX_SAVED_JOURNALS: usize = 1_024;
/// Pages of dead processes that one round of the flush carries to the ledger besides what is new.
pub const FLUSH_LEFT_PAGES: usize = 8;
/// Longest pause between two tries to write usage to a ledger that fails, milliseconds.
pub const FLUSH_BACKOFF_MS: u64 = 5_000;
/// How often closed usage is handed to the control plane, milliseconds.
pub const METER_CLOSE_MS: u64 = 1_000;

/// Distinct assets one `POST /prices` may name before duplicates are folded.
pub const HTTP_ASSETS: usize = 100;
/// Longest request body, bytes.
pub const HTTP_BODY_BYTES: usize = 16 << 10;
/// Longest request head, bytes.
pub const HTTP_HEAD_BYTES: usize = 16 << 10;
/// Most header fields of a request.
pub const HTTP_HEADERS: usize = 64;
/// Longest head that is answered on the short way, without hyper, bytes.
pub const HTTP_PLAIN_HEAD_BYTES: usize = 4 << 10;
/// Most header fields of such a head.
pub const HTTP_PLAIN_HEADERS: usize = 32;
/// Longest part of such a head that a connection remembers as proven, bytes.
pub const HTTP_PROVEN_BYTES: usize = 1 << 10;
/// Bytes that are read from a connection at a time.
pub const HTTP_READ_BYTES: usize = 16 << 10;
/// Pipelined requests that are answered before other connections have their turn.
pub const HTTP_TRAIN: usize = 32;
/// A connection that hyper serves goes back to the short way after so many requests in a row that
/// could have gone it.
pub const HTTP_PLAIN_AGAIN: u32 = 8;
/// Prices whose text one HTTP worker keeps until they change; a power of two.
pub const HTTP_RENDERED: usize = 1 << 10;
/// Time a client has to send its whole head, milliseconds.
pub const HTTP_HEAD_MS: u64 = 10_000;
/// Time a client has to send its whole body, milliseconds.
pub const HTTP_BODY_MS: u64 = 10_000;
/// Idle time of a kept-alive connection, milliseconds: above the 300 s of a load balancer,
/// so that the balancer never meets a socket that was just closed.
pub const HTTP_IDLE_MS: u64 = 350_000;
/// Time a client may leave an answer untaken before its connection is cut, milliseconds.
pub const HTTP_WRITE_MS: u64 = 10_000;
/// Connections one HTTP worker holds.
pub const HTTP_CONNECTIONS: usize = 4_096;
/// Time that requests in flight have to finish once the service stops, milliseconds.
pub const HTTP_DRAIN_MS: u64 = 5_000;
/// After an answer that ends a connection early, time for its client to read it before the
/// socket is closed over what the client still sends, milliseconds.
pub const HTTP_LINGER_MS: u64 = 1_000;

/// Longest WebSocket message taken from a venue, bytes: the largest seen is a book snapshot of
/// 5 MB, and a frame of a venue gone mad must cost the connection, not the process.
pub const FEED_MESSAGE_BYTES: usize = 16 << 20;
/// Bytes a connection may have waiting to be written to a venue.
pub const FEED_WRITE_BYTES: usize = 256 << 10;
/// Time a connection to a venue may take to open, TLS and upgrade included, milliseconds.
pub const FEED_CONNECT_MS: u64 = 10_000;
/// Time a message may take to leave on a connection, milliseconds.
pub const FEED_SEND_MS: u64 = 3_000;
/// Longest body of a REST answer, bytes.
pub const FEED_REST_BODY_BYTES: usize = 1 << 20;
/// Time a REST request may take, milliseconds: beyond it even a late answer is of no use.
pub const FEED_REST_MS: u64 = 3_000;
/// First and longest wait before a venue is connected to again, milliseconds; full jitter.
pub const FEED_BACKOFF_MS: (u64, u64) = (250, 10_000);
/// The same for a connection that never has news while others of its venue do, milliseconds: what
/// it carries is perhaps not traded any more, and the venue must not be pestered for it.
pub const FEED_LONELY_BACKOFF_MS: (u64, u64) = (5_000, 300_000);
/// A connection that lived with news for this long begins its backoff anew, milliseconds.
pub const FEED_SETTLED_MS: u64 = 20_000;
/// How often the feeds look for what has aged, milliseconds.
pub const FEED_AGE_MS: u64 = 20;
/// REST requests to one venue that may be made at once beyond its pace, for requests that miss.
pub const FEED_REST_BURST: u64 = 8;

/// Errors that a venue reports, logged in a minute; the rest is counted.
pub const FEED_LOGGED_ERRORS: u32 = 5;
/// How long an instrument that a venue's REST does not know is left alone, milliseconds.
pub const FEED_UNKNOWN_MS: u64 = 600_000;

/// How long a fetch that somebody waits for may take, milliseconds; later answers warm the
/// market for the next.
pub const MISS_FETCH_MS: u64 = 38;
/// Venues that are asked for one missed symbol.
pub const MISS_VENUES: usize = 8;

/// Explanations that may wait for the market at a time; beyond it there is a refusal at once.
pub const EXPLAIN_QUEUE: usize = 64;
/// Time the market has to explain a price, milliseconds.
pub const EXPLAIN_MS: u64 = 1_000;

/// A market that last ticked longer ago is not live, milliseconds.
pub const MARKET_STALE_MS: u64 = 10_000;
/// Keys last read from the ledger longer ago are told of as old, milliseconds. They go on
/// serving.
pub const KEYS_STALE_MS: u64 = 120_000;

/// Instruments that a summary of decoded frames counts by name.
pub const DECODE_INSTRUMENTS: usize = 10_000;

/// Messages that wait for the disk while a market is recorded; what comes beyond is lost.
pub const RECORDING_QUEUE_FRAMES: usize = 1 << 16;
/// Bytes of messages that wait for the disk.
pub const RECORDING_QUEUE_BYTES: usize = 64 << 20;
/// Buffers that go back to the feed to be filled again.
pub const RECORDING_SPARES: usize = 1_024;
/// A buffer grown beyond this is not kept for another message.
pub const RECORDING_SPARE_BYTES: usize = 64 << 10;
/// Connections of one recording whose names are kept.
pub const RECORDING_CONNECTIONS: usize = 1_024;
/// Files of one recording that may begin in one second.
pub const RECORDING_SAME_SECOND: u32 = 1_000;
/// Files that are played as one recording.
pub const RECORDING_FILES: usize = 4_096;
/// Rows that a conversion holds while it sorts them by time.
pub const CONVERT_ROWS: usize = 10_000_000;

const _: () = {
    assert!(RECEIVE_SLOT_BYTES > MAX_DATAGRAM && RECEIVE_SLOT_BYTES.is_multiple_of(64));
    assert!(
        RECEIVE_SLOT_BYTES > 1 << 16,
        "no train is longer than the lengths of UDP allow"
    );
    assert!(SHARD_SESSIONS <= 1 << 16, "session slots are 16-bit numbers");
    assert!(KEY_SESSIONS as usize <= SHARD_SESSIONS);
    assert!(REPEATS_BANKED <= REPEATS_BANK_MAX);
    // A batch must fit a fresh page, or it could never be answered.
    assert!(METER_REQUEST_ROWS >= 4 * BATCH_MESSAGES);
    // Rows are kept for requests that wait; most of a page must be left for the others.
    assert!(METER_REQUEST_ROWS >= 4 * (PARKED_REQUESTS + BATCH_MESSAGES));
    assert!(METER_REQUEST_ROWS >= 4 * HTTP_WAITING);
    // 50 ms are promised: the rest is for noticing that the wait is over, and for sending.
    assert!(MISS_WAIT_MS + PARK_WAITING_MS + PARKED_LOOK_US.div_ceil(1_000) < 50);
    assert!(MISS_NOTHING_MS <= MISS_NOTHING_MAX_MS);
    assert!(MISS_FETCH_MS < MISS_WAIT_MS);
    assert!(PARK_WAITING_MS <= PARK_MS && MISS_WAIT_MS < MISS_FLIGHT_MS);
    assert!(METER_SYMBOL_ROWS >= BATCH_MESSAGES * MAX_ENTRIES);
    assert!(METER_PAGES >= 2);
    // A batch is one request, so its rows must fit a page like a datagram's.
    assert!(METER_SYMBOL_ROWS >= HTTP_ASSETS);
    assert!(HTTP_RENDERED.is_power_of_two());
    assert!(HTTP_PROVEN_BYTES <= HTTP_PLAIN_HEAD_BYTES && HTTP_PLAIN_HEAD_BYTES <= HTTP_HEAD_BYTES);
    assert!(HTTP_PLAIN_HEADERS <= HTTP_HEADERS);
    assert!(
        HTTP_IDLE_MS > 300_000,
        "a load balancer must be the one to close an idle connection"
    );
};
