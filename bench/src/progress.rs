//! Progress on standard error: a bar on a terminal, lines elsewhere.

use std::io::IsTerminal;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Of steps that each leave a line.
pub(crate) struct Steps {
    bar: Option<ProgressBar>,
}

impl Steps {
    pub(crate) fn new(steps: usize) -> Self {
        Self {
            bar: bar(steps as u64, "{bar:32} {pos}/{len} {msg}"),
        }
    }

    pub(crate) fn step(&self, line: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(line.to_owned());
                bar.inc(1);
            }
            None => eprintln!("{line}"),
        }
    }

    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Of a time that passes; nothing is shown where there is no terminal.
pub(crate) struct Timed {
    ticker: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl Timed {
    pub(crate) fn start(time: Duration) -> Self {
        /// Often enough to be looked at, seldom enough to disturb nothing.
        const TICK: Duration = Duration::from_millis(250);
        let ticker = bar(time.as_millis() as u64, "{bar:32} {percent} %").map(|bar| {
            let (stop, stopped) = mpsc::channel();
            let thread = thread::spawn(move || {
                while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                    bar.inc(TICK.as_millis() as u64);
                }
                bar.finish_and_clear();
            });
            (stop, thread)
        });
        Self { ticker }
    }

    pub(crate) fn finish(self) {
        if let Some((stop, thread)) = self.ticker {
            drop(stop);
            // A bar that broke spoils no measurement.
            let _ = thread.join();
        }
    }
}

fn bar(len: u64, template: &str) -> Option<ProgressBar> {
    std::io::stderr().is_terminal().then(|| {
        let bar = ProgressBar::new(len);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar
    })
}
