//! Captured messages in place of generated ones: JSON lines `{"t":"recv","ts":..,"data":".."}`, as
//! cryptofeed's raw captures have them; `.gz` is unpacked.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::state::{Command, State};

/// Longest wait between two messages, whatever the capture says.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A recorded message.
#[derive(Debug, Clone)]
pub(super) enum Frame {
    Text(String),
    Binary(Vec<u8>),
}

/// The received messages of a capture, each with its time in seconds.
pub(super) fn read(path: &Path) -> io::Result<Vec<(f64, Arc<Frame>)>> {
    let file = File::open(path)?;
    let unpacked: Box<dyn Read> = if path.extension().is_some_and(|extension| extension == "gz") {
        Box::new(flate2::read::GzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let mut frames = Vec::new();
    for line in BufReader::new(unpacked).lines() {
        let event: Value = serde_json::from_str(&line?)?;
        if event["t"] != "recv" {
            continue;
        }
        let time = event["ts"].as_f64().unwrap_or(0.0);
        let frame = match (event["data"].as_str(), event["b64"].as_str()) {
            (Some(text), _) => Frame::Text(text.to_owned()),
            (None, Some(text)) => Frame::Binary(base64(text)),
            (None, None) => continue,
        };
        frames.push((time, Arc::new(frame)));
    }
    if frames.is_empty() {
        let problem = format!("{} holds no received message", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    Ok(frames)
}

/// Sends the messages at so many times their pace, over and over.
pub(super) async fn play(frames: Vec<(f64, Arc<Frame>)>, speed: f64, state: Arc<State>) {
    loop {
        let mut before = frames.first().map_or(0.0, |(time, _)| *time);
        for (time, frame) in &frames {
            let wait = ((time - before) / speed).clamp(0.0, LONGEST_WAIT.as_secs_f64());
            before = *time;
            tokio::time::sleep(Duration::from_secs_f64(wait)).await;
            state.broadcast(&Command::Replay(Arc::clone(frame)));
        }
        // A capture of one instant must not spin.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Base64 of the standard alphabet; what is none of it is passed over.
fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut buffer, mut bits) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes() {
        let Some(value) = ALPHABET.iter().position(|letter| *letter == byte) else {
            continue;
        };
        buffer = (buffer << 6) | value as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((buffer >> bits) as u8);
            buffer &= (1 << bits) - 1;
        }
    }
    bytes
}
