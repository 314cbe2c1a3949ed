//! A server, its clients, and the troubles that they go through.

use std::thread;
use std::time::Duration;

use trinity_beast::clock;

use super::books::Verdict;
use super::clock::SteppedClock;
use super::crowd::Crowd;
use super::database::Database;
use super::house::House;
use super::proxy::Cut;

/// What happens to a server in service.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    /// SIGKILL, and a new start at once.
    Kill,
    /// The same at the moment when usage has been written into the ledger, and the server hardly
    /// knows it yet. For SQLite.
    KillAsItFlushes,
    /// The same when it has hardly begun to serve, with the journals of the process before it at
    /// hand. Nothing else passes before that.
    KillAtOnce,
    /// So many flushes are committed without an acknowledgement: the connection breaks instead.
    LoseAcknowledgements(u64),
    /// So many flushes are cut off before they are committed.
    CutFlushes(u64),
    /// A flush is committed without an acknowledgement, and before the server can find out it is
    /// killed.
    LoseAnAcknowledgementAndKill,
    /// The database crashes, and is started again when clients have been served for as long as this
    /// without it.
    DatabaseIsDown(Meanwhile),
    /// Its clock steps, to so many seconds ahead of the true one.
    Step(i64),
}

/// How long the service goes on between one trouble and the next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Meanwhile {
    /// Until so many replies have come.
    Replies(u64),
    /// For so many seconds, and until some have.
    Seconds(u64),
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    /// Most requests that can have been counted without an answer: what is outstanding at a kill.
    most_counted_unanswered: u64,
    seconds: f64,
}

/// Lets clients ask a server at full speed while these troubles come one after the other, ends the
/// server well, and holds what the clients saw against the ledger.
pub(crate) fn play(
    mut house: House,
    clock: Option<&SteppedClock>,
    troubles: &[Trouble],
    meanwhile: Meanwhile,
) -> Outcome {
    let begun = clock::monotonic();
    let crowd = Crowd::gather(house.udp, house.http, &house.keys);
    let mut kills = 0;
    for trouble in troubles {
        if !matches!(trouble, Trouble::KillAtOnce) {
            meanwhile.pass(&crowd);
        }
        match *trouble {
            Trouble::Kill | Trouble::KillAtOnce | Trouble::KillAsItFlushes => {
                if matches!(trouble, Trouble::KillAsItFlushes) {
                    house.until_it_flushes();
                }
                house.kill();
                crowd.server_died();
                house.restart();
                kills += 1;
            }
            Trouble::LoseAcknowledgements(times) => database(&house).proxy.cut(Cut::Acknowledgement, times),
            Trouble::CutFlushes(times) => database(&house).proxy.cut(Cut::InTransaction, times),
            Trouble::LoseAnAcknowledgementAndKill => {
                database(&house).loses_an_acknowledgement_and_the_network();
                house.kill();
                crowd.server_died();
                database(&house).proxy.is_back();
                house.restart();
                kills += 1;
            }
            Trouble::DatabaseIsDown(how_long) => {
                house.database.as_mut().expect("a database").crash();
                house.until_ready_warns_of(Some("ledger"));
                how_long.pass(&crowd);
                house.database.as_mut().expect("a database").start_again();
                house.until_ready_warns_of(None);
            }
            Trouble::Step(ahead) => clock
                .expect("a server with a clock of its own")
                .step(ahead, &crowd),
        }
    }
    meanwhile.pass(&crowd);
    let books = crowd.disperse();
    let seconds = begun.elapsed().as_secs_f64();
    house.close();
    house.must_pass_the_audit();
    Outcome {
        verdict: books.against(&house.ledger()),
        most_counted_unanswered: kills * Crowd::in_flight(),
        seconds,
    }
}

fn database(house: &House) -> &Database {
    house.database.as_ref().expect("a database")
}

impl Meanwhile {
    fn pass(self, crowd: &Crowd) {
        match self {
            Self::Replies(replies) => crowd.is_answered(replies),
            Self::Seconds(seconds) => {
                thread::sleep(Duration::from_secs(seconds));
                crowd.is_answered(1);
            }
        }
    }
}

impl Outcome {
    /// Fails the test unless what was answered is what is billed. Without kills there is nothing
    /// else in the ledger; with them, at most what was on its way when they came.
    pub(crate) fn must_be_exact(&self) -> &Verdict {
        let verdict = &self.verdict;
        eprintln!(
            "{verdict}; {:.0} replies/s",
            verdict.answered as f64 / self.seconds
        );
        verdict.must_agree();
        assert!(
            verdict.counted_unanswered() <= self.most_counted_unanswered,
            "{} requests at most were on their way when the server was killed: {verdict}",
            self.most_counted_unanswered
        );
        if self.most_counted_unanswered == 0 {
            verdict.must_agree_exactly();
        }
        verdict
    }
}
