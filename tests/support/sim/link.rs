//! One WebSocket connection of a simulated venue: runs the venue's protocol under the fault of
//! the moment.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use trinity_beast::clock;

use super::book::Tick;
use super::capture::Frame;
use super::fault::Fault;
use super::protocol::{Opening, Out, Protocol};
use super::state::{Command, State};
use super::stats::{Violation, ViolationKind};

/// Longest time a client may leave a message untaken before it is dropped.
const UNTAKEN: Duration = Duration::from_secs(10);

struct Link<S> {
    id: u64,
    state: Arc<State>,
    socket: WebSocketStream<S>,
    protocol: Box<dyn Protocol>,
    opened: Instant,
    /// When the latest messages came, within the venue's window.
    pace: VecDeque<Instant>,
    /// Each instrument's last quote, for it to be repeated.
    old: HashMap<String, String>,
    /// The switching of faults that the two below belong to.
    epoch: u64,
    sent: u64,
    huge_sent: bool,
    closing: bool,
}

/// Whether a connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    End,
}

/// Runs a connection until either side ends it.
pub(super) async fn run<S>(socket: WebSocketStream<S>, opening: Opening, state: Arc<State>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (id, mut commands) = state.join();
    let mut link = Link {
        id,
        socket,
        protocol: (state.kind.open)(&opening),
        opened: opening.at,
        pace: VecDeque::new(),
        old: HashMap::new(),
        epoch: 0,
        sent: 0,
        huge_sent: false,
        closing: false,
        state: Arc::clone(&state),
    };
    let outs = state.with_desk(|desk| link.protocol.greet(desk));
    let mut flow = link.emit(outs).await;
    while flow == Flow::On {
        // Often enough for the protocol to keep its times.
        let beat = (state.timing().every / 4).clamp(Duration::from_millis(5), Duration::from_millis(250));
        flow = tokio::select! {
            message = link.socket.next() => match message {
                Some(Ok(message)) => link.received(message).await,
                Some(Err(_)) | None => Flow::End,
            },
            command = commands.recv() => match command {
                Some(Command::Freeze) => {
                    // The socket is kept and not touched, until the sender is dropped.
                    while commands.recv().await.is_some() {}
                    Flow::End
                }
                Some(command) => link.command(command).await,
                None => Flow::End,
            },
            () = tokio::time::sleep(beat) => {
                // Who says nothing does not ask for signs of life, and does not miss them.
                let outs = state.with_desk(|desk| match desk.fault {
                    Some(fault) if fault.is_silent() => Vec::new(),
                    _ => link.protocol.beat(desk),
                });
                link.emit(outs).await
            }
        };
    }
    state.leave(id);
    if link.closing {
        // The client's answer to the close frame, so that it does not meet a reset.
        let rest = async { while let Some(Ok(_)) = link.socket.next().await {} };
        let _ = tokio::time::timeout(Duration::from_secs(1), rest).await;
    }
}

impl<S> Link<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    async fn received(&mut self, message: Message) -> Flow {
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(bytes) => {
                self.state.count(|stats| stats.messages += 1);
                self.state.violation(Violation::new(
                    ViolationKind::UnknownMessage,
                    format!("binary: {bytes:?}"),
                ));
                return Flow::On;
            }
            Message::Ping(_) | Message::Pong(_) => {
                self.keep_pace();
                self.state.count(|stats| stats.signs_of_life += 1);
                self.state.with_desk(|desk| self.protocol.sign_of_life(desk));
                return Flow::On;
            }
            Message::Close(_) => {
                self.closing = true;
                return Flow::End;
            }
            Message::Frame(_) => return Flow::On,
        };
        self.state.count(|stats| stats.messages += 1);
        self.keep_pace();
        let settle = self.state.kind.limits.settle;
        if self.opened.elapsed() < settle {
            let detail = format!("{text} sooner than {settle:?} after the connection was made");
            self.state
                .violation(Violation::new(ViolationKind::TooEarly, detail));
        }
        let outs = self.state.with_desk(|desk| self.protocol.on_message(&text, desk));
        let flow = self.emit(outs).await;
        self.state.subscribed(self.id, self.protocol.instruments());
        flow
    }

    /// Counts a message against the venue's pace.
    fn keep_pace(&mut self) {
        let Some((most, window)) = self.state.kind.limits.messages else {
            return;
        };
        let now = clock::monotonic();
        self.pace.push_back(now);
        self.pace.retain(|at| now.duration_since(*at) < window);
        if self.pace.len() > most {
            let detail = format!("{} messages within {window:?}", self.pace.len());
            self.state.violation(Violation::new(ViolationKind::Pace, detail));
        }
    }

    async fn command(&mut self, command: Command) -> Flow {
        match command {
            Command::Tick(tick, fault) => {
                if fault.is_some_and(Fault::holds_quotes_back) {
                    return Flow::On;
                }
                let tick = match fault {
                    Some(fault) => fault.distort(tick.as_ref().clone()),
                    None => tick.as_ref().clone(),
                };
                let outs = self.state.with_desk(|desk| self.protocol.quote(&tick, desk));
                self.emit_under(outs, fault).await
            }
            Command::Replay(frame) => self.replay(&frame).await,
            Command::Reconnect => match self.state.with_desk(|desk| self.protocol.reconnect(desk)) {
                Some(text) => self.emit(vec![Out::Note(text)]).await,
                None => self.close(1012, "service restart").await,
            },
            Command::Gap => {
                let _ = self.protocol.seal(String::new());
                Flow::On
            }
            Command::Drop { close_frame: true } => self.close(1001, "going away").await,
            Command::Wake => Flow::On,
            Command::Drop { close_frame: false } | Command::Stop | Command::Freeze => Flow::End,
        }
    }

    async fn replay(&mut self, frame: &Frame) -> Flow {
        let (fault, _) = self.state.stream_fault();
        if fault.is_some_and(Fault::holds_quotes_back) || self.protocol.instruments().is_empty() {
            return Flow::On;
        }
        self.state.count(|stats| stats.quotes += 1);
        let message = match frame {
            Frame::Text(text) => Message::text(text.clone()),
            Frame::Binary(bytes) => Message::binary(bytes.clone()),
        };
        self.send(message).await
    }

    async fn emit(&mut self, outs: Vec<Out>) -> Flow {
        let (fault, _) = self.state.stream_fault();
        self.emit_under(outs, fault).await
    }

    /// Does what the protocol wants, as far as this fault lets it.
    async fn emit_under(&mut self, outs: Vec<Out>, fault: Option<Fault>) -> Flow {
        for out in outs {
            let mute = fault == Some(Fault::Mute);
            let silent = fault.is_some_and(Fault::is_silent);
            let deaf = mute || fault == Some(Fault::NoAck);
            let flow = match out {
                Out::Ack(text) => {
                    if deaf {
                        continue;
                    }
                    self.state.count(|stats| stats.acks += 1);
                    self.send_text(text).await
                }
                Out::Refusal(text) => {
                    if deaf {
                        continue;
                    }
                    self.state.count(|stats| stats.refusals += 1);
                    self.send_text(text).await
                }
                Out::Beat(text) | Out::Note(text) if !silent => self.send_text(text).await,
                Out::Ping if !silent => self.send(Message::Ping("sim".into())).await,
                Out::Beat(_) | Out::Note(_) | Out::Ping => Flow::On,
                Out::Quote { tick, text } => self.quote(&tick, text, fault).await,
                Out::Alive => {
                    self.state.count(|stats| stats.signs_of_life += 1);
                    Flow::On
                }
                Out::Violation(violation) => {
                    self.state.violation(violation);
                    Flow::On
                }
                Out::Timeout(code, reason) => {
                    self.state.count(|stats| stats.timeouts += 1);
                    self.close(code, reason).await
                }
                Out::Close(code, reason) => self.close(code, reason).await,
            };
            if flow == Flow::End {
                return Flow::End;
            }
        }
        Flow::On
    }

    async fn quote(&mut self, tick: &Tick, text: String, fault: Option<Fault>) -> Flow {
        self.refresh_epoch();
        let message = match fault {
            Some(fault) if fault.holds_quotes_back() => return Flow::On,
            Some(Fault::RepeatOld) => {
                if let Some(old) = self.old.get(&tick.instrument) {
                    Message::text(old.clone())
                } else {
                    self.fresh(tick, text)
                }
            }
            Some(Fault::Garbage(kind)) => {
                let bytes = kind.spoil(&self.protocol.seal(text), tick);
                match String::from_utf8(bytes) {
                    Ok(text) => Message::text(text),
                    Err(error) => Message::binary(error.into_bytes()),
                }
            }
            Some(Fault::HugeFrame(size)) if !self.huge_sent => {
                self.huge_sent = true;
                Message::text(padded(size))
            }
            _ => self.fresh(tick, text),
        };
        self.state.count(|stats| stats.quotes += 1);
        self.send(message).await
    }

    fn fresh(&mut self, tick: &Tick, text: String) -> Message {
        let text = self.protocol.seal(text);
        self.old.insert(tick.instrument.clone(), text.clone());
        Message::text(text)
    }

    async fn send_text(&mut self, text: String) -> Flow {
        let text = self.protocol.seal(text);
        self.send(Message::text(text)).await
    }

    async fn send(&mut self, message: Message) -> Flow {
        // Before the client can see it, and so before the test can act upon it.
        self.state.count(|stats| stats.sent += 1);
        self.refresh_epoch();
        self.sent += 1;
        let last = match self.state.stream_fault().0 {
            Some(Fault::CloseAfter(frames)) => self.sent >= frames,
            _ => false,
        };
        match tokio::time::timeout(UNTAKEN, self.socket.send(message)).await {
            Ok(Ok(())) if last => self.close(1001, "going away").await,
            Ok(Ok(())) => Flow::On,
            Ok(Err(_)) | Err(_) => Flow::End,
        }
    }

    /// Counts anew when a fault was switched.
    fn refresh_epoch(&mut self) {
        let (_, epoch) = self.state.stream_fault();
        if epoch != self.epoch {
            (self.epoch, self.sent, self.huge_sent) = (epoch, 0, false);
        }
    }

    async fn close(&mut self, code: u16, reason: &'static str) -> Flow {
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.into(),
        };
        let _ = tokio::time::timeout(UNTAKEN, self.socket.close(Some(frame))).await;
        self.closing = true;
        Flow::End
    }
}

/// A JSON text of so many bytes.
pub(super) fn padded(size: usize) -> String {
    let (head, tail) = ("{\"pad\":\"", "\"}");
    let pad = size.saturating_sub(head.len() + tail.len());
    format!("{head}{}{tail}", "x".repeat(pad))
}
