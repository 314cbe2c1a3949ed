//! Kraken: any message, binary message and REST answer.
#![no_main]

trinity_fuzz::venue_target!("kraken");
