//! Sending for real: MQTT to a broker, POSTs to a push listener, at a multiple of real time or as fast as it is taken.

mod clock;
mod ledger;
mod post;
mod publish;
mod state;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::calendar::{instant, millis};
use crate::messages::{Outgoing, Via};
use crate::model::Town;

pub use clock::VirtualClock;
use ledger::Ledger;
pub use ledger::Progress;
pub use state::{Reached, StateError, reached};

/// Messages handed to a sender and not yet taken up by it.
const QUEUE: usize = 64;
const STATE_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether what was sent in a step of the clock has been taken, and how long at most.
const LOOK_EVERY: Duration = Duration::from_millis(1);
const LONGEST_LOOK: Duration = Duration::from_secs(10);

/// Where to send to.
#[derive(Clone)]
pub struct Endpoints {
    /// The broker.
    pub mqtt: SocketAddr,
    /// Address of the push listener, without a path: `http://127.0.0.1:8080`.
    pub push_url: String,
    /// Bearer token of the push listener.
    pub push_token: String,
    /// The client that posts; the caller's, because it decides about TLS.
    pub http: reqwest::Client,
    /// How many published messages the far side has taken for good, counted from any beginning; see [`Pace::step`]. Without
    /// it the broker's acknowledgement is all that is waited for.
    pub taken: Option<Arc<dyn Fn() -> u64 + Send + Sync>>,
}

/// Which part of the town's life, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The first message sent; where a run before got to, see [`reached`].
    pub from: Timestamp,
    /// Until when, exclusive; none for no end.
    pub until: Option<Timestamp>,
    /// Seconds of the town's time in a second of ours; 0 for as fast as the messages are taken.
    pub speed: f64,
    /// For what is sent as fast as it is taken: the clock goes in such steps, on whole multiples since 1970. While the messages
    /// of a step are sent it stands at the step's end, and it moves on when all of them have been taken. So what is received
    /// was received at most a step after it was sent and never before, and whatever is computed as of an earlier instant
    /// misses none of it. None: the clock follows the messages.
    pub step: Option<SignedDuration>,
}

/// Why a run ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Where it got to could not be written.
    #[error("write where the town got to")]
    State(#[source] StateError),
    /// The listener does not let us in.
    #[error("POST {url}: answered {status}")]
    Refused {
        /// The address.
        url: String,
        /// The HTTP status: 401, 403 or 404.
        status: u16,
    },
    /// A sender ended although there was more to send.
    #[error("a sender of the town ended early")]
    SenderEnded,
}

/// A message on its way, by its number in the order of sending.
#[derive(Debug)]
struct Item {
    number: u64,
    /// Topic, or path for a POST.
    place: String,
    retain: bool,
    payload: Vec<u8>,
}

/// What a sender reports.
#[derive(Clone, Copy, Debug)]
enum Report {
    /// Acknowledged: PUBACK or HTTP 2xx.
    Taken(u64),
    /// Refused for good: an HTTP answer that repetition would not change.
    Refused(u64),
    /// Sent once more after a broken connection.
    Repeated,
}

/// Sends the town's messages until `pace.until` or `cancel`, and returns what was done. Broken connections are taken up
/// again and what was not acknowledged is sent again, so a message may come twice, never not at all.
///
/// In `<dir>/town-state.json` stands how far everything has been acknowledged. It is rewritten every second by rename, and
/// the next run starts from there. `clock` follows, for [`crate::served`]. `progress` is called at least every second while
/// there is something to do; it must not block.
///
/// # Errors
/// See [`RunError`]; what was acknowledged until then is in the state file.
pub async fn run(
    town: &Town,
    endpoints: &Endpoints,
    pace: Pace,
    dir: &Path,
    clock: &VirtualClock,
    cancel: &CancellationToken,
    progress: impl FnMut(&Progress) + Send,
) -> Result<Progress, RunError> {
    let senders_stop = cancel.child_token();
    let (mqtt, mqtt_items) = mpsc::channel(QUEUE);
    let (post, post_items) = mpsc::channel(QUEUE);
    let (reports, reported) = mpsc::channel(QUEUE);
    let mut tasks = JoinSet::new();
    tasks.spawn(publish::publish(endpoints.mqtt, mqtt_items, reports.clone(), senders_stop.clone()));
    tasks.spawn(post::post(endpoints.clone(), post_items, reports, senders_stop.clone()));

    let ledger = Ledger::new(pace.from);
    let state = state::StateFile::new(dir, town.config());
    let taken = endpoints.taken.clone();
    let published = taken.as_ref().map_or(0, |taken| taken());
    let clock = clock.clone();
    let mut sending = Sending { ledger, reported, taken, published, clock, state, written: Instant::now(), progress };
    let sent = sending.all(town, pace, Lines { mqtt, post }, cancel).await;
    if sent.is_err() {
        senders_stop.cancel();
    }
    sending.settle_the_rest();
    let ended = senders(tasks).await;
    sending.write_state()?;
    // What a sender says is nearer to the cause than that it is gone.
    ended.and(sent).map(|()| sending.ledger.progress())
}

/// Waits for the senders and returns the first error of one.
async fn senders(mut tasks: JoinSet<Result<(), RunError>>) -> Result<(), RunError> {
    let mut first = Ok(());
    while let Some(ended) = tasks.join_next().await {
        first = first.and(ended.unwrap_or(Err(RunError::SenderEnded)));
    }
    first
}

/// The ways to the senders.
struct Lines {
    mqtt: mpsc::Sender<Item>,
    post: mpsc::Sender<Item>,
}

struct Sending<P> {
    ledger: Ledger,
    reported: mpsc::Receiver<Report>,
    taken: Option<Arc<dyn Fn() -> u64 + Send + Sync>>,
    /// Where `taken` will stand when all that was handed to the broker has been taken.
    published: u64,
    clock: VirtualClock,
    state: state::StateFile,
    written: Instant,
    progress: P,
}

impl<P: FnMut(&Progress) + Send> Sending<P> {
    /// Hands every message to its sender when it is due; then waits until all are settled. Both channels end with it.
    async fn all(&mut self, town: &Town, pace: Pace, lines: Lines, cancel: &CancellationToken) -> Result<(), RunError> {
        let began = Instant::now();
        for message in town.messages(pace.from, pace.until.unwrap_or(Timestamp::MAX)) {
            if !self.wait_until(began, pace, message.at, cancel).await? {
                return Ok(());
            }
            let at = message.at;
            if !self.turn_clock(pace, at, &lines, cancel).await? {
                return Ok(());
            }
            if !self.hand_over(message, &lines, cancel).await? {
                return Ok(());
            }
            self.ledger.passed(at);
            self.tell_now_and_then()?;
        }
        if let Some(until) = pace.until {
            if pace.step.is_some() && !self.all_arrived(&lines, cancel).await? {
                return Ok(());
            }
            self.clock.advance(until);
            self.ledger.passed(until);
        }
        drop(lines);
        while let Some(report) = self.reported.recv().await {
            self.ledger.settle(report);
            self.tell_now_and_then()?;
        }
        (self.progress)(&self.ledger.progress());
        Ok(())
    }

    /// Sets the clock for a message of `at`; see [`Pace::step`]. False if cancelled before.
    async fn turn_clock(
        &mut self,
        pace: Pace,
        at: Timestamp,
        lines: &Lines,
        cancel: &CancellationToken,
    ) -> Result<bool, RunError> {
        let Some(step) = pace.step else {
            self.clock.advance(at);
            return Ok(true);
        };
        let end = pace.until.map_or(end_of_step(at, step), |until| end_of_step(at, step).min(until));
        if end > self.clock.now() {
            if !self.all_arrived(lines, cancel).await? {
                return Ok(false);
            }
            self.clock.advance(end);
        }
        Ok(true)
    }

    async fn all_arrived(&mut self, lines: &Lines, cancel: &CancellationToken) -> Result<bool, RunError> {
        Ok(self.all_acknowledged(lines, cancel).await? && self.all_taken(cancel).await?)
    }

    /// Waits until everything handed over is acknowledged or refused; false if cancelled before.
    async fn all_acknowledged(&mut self, lines: &Lines, cancel: &CancellationToken) -> Result<bool, RunError> {
        while !self.ledger.is_settled() {
            if lines.mqtt.is_closed() || lines.post.is_closed() {
                return Err(RunError::SenderEnded);
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(false),
                report = self.reported.recv() => self.ledger.settle(report.ok_or(RunError::SenderEnded)?),
                () = tokio::time::sleep(STATE_EVERY) => {}
            }
            self.tell_now_and_then()?;
        }
        Ok(true)
    }

    /// Waits until the far side has everything published, and goes on without what does not come; false if cancelled before.
    async fn all_taken(&mut self, cancel: &CancellationToken) -> Result<bool, RunError> {
        let Some(taken) = self.taken.clone() else { return Ok(true) };
        let began = Instant::now();
        while taken() < self.published {
            if cancel.is_cancelled() {
                return Ok(false);
            }
            if began.elapsed() >= LONGEST_LOOK {
                tracing::warn!(messages = self.published.saturating_sub(taken()), "published and not taken; the town goes on");
                self.published = taken();
            }
            tokio::time::sleep(LOOK_EVERY).await;
            self.tell_now_and_then()?;
        }
        Ok(true)
    }

    /// True when it is time for a message of `at`; false if cancelled before. The clock goes on meanwhile.
    async fn wait_until(
        &mut self,
        began: Instant,
        pace: Pace,
        at: Timestamp,
        cancel: &CancellationToken,
    ) -> Result<bool, RunError> {
        let Some(due) = due(began, pace, at) else {
            return Ok(!cancel.is_cancelled());
        };
        loop {
            let tick = due.min(Instant::now() + STATE_EVERY);
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(false),
                report = self.reported.recv() => self.ledger.settle(report.ok_or(RunError::SenderEnded)?),
                () = tokio::time::sleep_until(tick) => {}
            }
            if Instant::now() >= due {
                return Ok(true);
            }
            self.clock.advance(town_time(began, pace).min(at));
            self.tell_now_and_then()?;
        }
    }

    /// Gives a message to its sender, settling reports while there is no room; false if cancelled before.
    async fn hand_over(&mut self, message: Outgoing, lines: &Lines, cancel: &CancellationToken) -> Result<bool, RunError> {
        let (to, place, retain, is_published) = match message.via {
            Via::HttpServed => return Ok(true),
            Via::Mqtt { topic, retain } => (&lines.mqtt, topic, retain, true),
            Via::Post { path } => (&lines.post, path, false, false),
        };
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(false),
                report = self.reported.recv() => self.ledger.settle(report.ok_or(RunError::SenderEnded)?),
                room = to.reserve() => {
                    let room = room.map_err(|_| RunError::SenderEnded)?;
                    let number = self.ledger.sent(message.at);
                    self.published += u64::from(is_published);
                    room.send(Item { number, place, retain, payload: message.payload });
                    return Ok(true);
                }
            }
        }
    }

    /// Takes what has been reported and lets no sender wait for us any longer.
    fn settle_the_rest(&mut self) {
        self.reported.close();
        while let Ok(report) = self.reported.try_recv() {
            self.ledger.settle(report);
        }
    }

    fn tell_now_and_then(&mut self) -> Result<(), RunError> {
        if self.written.elapsed() < STATE_EVERY {
            return Ok(());
        }
        self.written = Instant::now();
        (self.progress)(&self.ledger.progress());
        self.write_state()
    }

    fn write_state(&self) -> Result<(), RunError> {
        self.state.write(self.ledger.reached()).map_err(RunError::State)
    }
}

/// When a message is due in our time; none for at once.
fn due(began: Instant, pace: Pace, at: Timestamp) -> Option<Instant> {
    if pace.speed <= 0.0 {
        return None;
    }
    let seconds = (millis(at) - millis(pace.from)).max(0) as f64 / 1000.0 / pace.speed;
    began.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}

/// The town's time now, at a speed above 0.
fn town_time(began: Instant, pace: Pace) -> Timestamp {
    let passed_ms = began.elapsed().as_secs_f64() * 1000.0 * pace.speed;
    instant(millis(pace.from).saturating_add(passed_ms as i64))
}

/// The end of the step that holds `at`: the first multiple of `step` that is not before it.
fn end_of_step(at: Timestamp, step: SignedDuration) -> Timestamp {
    let step_ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX).max(1);
    instant(millis(at).saturating_add(step_ms - 1).div_euclid(step_ms).saturating_mul(step_ms))
}

/// The state file of a town in `dir`.
fn state_path(dir: &Path) -> PathBuf {
    dir.join("town-state.json")
}

#[cfg(test)]
mod tests;
