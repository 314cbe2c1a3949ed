//! The Listener Price Oracle: answers price questions. Pure: bytes, tables and a clock go
//! in, bytes come out.

pub mod http;
pub mod udp;
