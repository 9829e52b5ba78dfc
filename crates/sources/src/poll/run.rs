use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use datasjo_table::Labels;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::config::{Paging, PollConfig};
use super::fetch::{Answer, Failure, Fetcher, Page};
use super::headers::between;
use super::paging::{self, Asked, Next};
use super::place::Place;
use crate::{Backoff, Health, State, now_us};

/// First and longest wait after a failure that repetition can mend. Public services are up again in seconds or in minutes.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// How often one page is asked for before the round is given up and the next regular one begins from its first page.
const PAGE_TRIES: u32 = 8;

/// One page on its way to whoever pulls.
pub(super) struct Arrived {
    pub(super) labels: Labels,
    pub(super) received_at_us: i64,
    pub(super) payload: Bytes,
    /// Set on the last page of a round: the place reached when this and all before it are safe.
    pub(super) place: Option<Place>,
}

/// Asks round after round, on its own task, so that a reader who stops waiting does not break off a request.
pub(super) struct Poller {
    feed: Arc<str>,
    config: PollConfig,
    fetcher: Fetcher,
    place: Place,
    health: Health,
    backoff: Backoff,
    out: mpsc::Sender<Arrived>,
}

impl Poller {
    pub(super) fn new(
        feed: Arc<str>,
        config: PollConfig,
        fetcher: Fetcher,
        place: Place,
        health: Health,
        out: mpsc::Sender<Arrived>,
    ) -> Self {
        Self { feed, config, fetcher, place, health, backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT), out }
    }

    /// Until nobody pulls any more.
    pub(super) async fn run(mut self) {
        let every = Duration::from_secs(self.config.every_s.into());
        loop {
            sleep(self.held_back()).await;
            let begun = Instant::now();
            if self.round().await.is_break() {
                return;
            }
            sleep(every.saturating_sub(begun.elapsed())).await;
        }
    }

    /// How long the service asked us to stay away.
    fn held_back(&self) -> Duration {
        self.place.not_before.map_or(Duration::ZERO, |time| between(Timestamp::now(), time))
    }

    /// One round: from the first page to the last, or until a page cannot be had.
    async fn round(&mut self) -> ControlFlow<()> {
        let started = Timestamp::now();
        let window = self.config.window(self.place.fetched_at, started);
        let mut asked = match paging::first(&self.config, &window, self.resumed_cursor()) {
            Ok(asked) => asked,
            Err(reason) => return self.give_up(reason),
        };
        for _ in 0..self.config.max_pages {
            let Some(answer) = self.answer(&asked).await else {
                return ControlFlow::Continue(());
            };
            let page = match answer {
                Answer::Page(page) => page,
                Answer::Unchanged { fresh_for } => return self.unchanged(fresh_for),
            };
            match paging::next(&self.config, &window, &asked, &page) {
                Next::Page(next) => {
                    self.hand_on(&asked, page, None).await?;
                    asked = next;
                }
                Next::Last { cursor } => {
                    self.place = self.reached(started, &page, cursor);
                    return self.hand_on(&asked, page, Some(self.place.clone())).await;
                }
                Next::Broken(reason) => {
                    self.hand_on(&asked, page, None).await?;
                    return self.give_up(reason);
                }
            }
        }
        self.give_up(format!("there is still more after max_pages = {} pages; the round is not counted", self.config.max_pages))
    }

    /// The answer to one request, tried again while repetition may mend it; none when the round is over.
    async fn answer(&mut self, asked: &Asked) -> Option<Answer> {
        for _ in 0..PAGE_TRIES {
            let known = self.config.is_repeatable().then_some(&self.place);
            let failure = match self.fetcher.fetch(asked, known).await {
                Ok(answer) => {
                    self.recovered();
                    return Some(answer);
                }
                Err(failure) => failure,
            };
            match failure {
                Failure::Later { reason, after } => {
                    self.report(reason);
                    sleep(self.backoff.next_wait().max(after.unwrap_or_default())).await;
                }
                Failure::NextRound(reason) => {
                    self.report(reason);
                    return None;
                }
                Failure::TooLarge(reason) => {
                    tracing::warn!(feed = %self.feed, reason, "refused an answer");
                    self.health.refused(reason);
                    return None;
                }
            }
        }
        None
    }

    /// All is well again; what was remarked while all was well stays to be read.
    fn recovered(&mut self) {
        self.backoff.reset();
        if self.health.report().state != State::Up {
            self.health.up();
        }
    }

    /// Passes one page on; breaks when nobody is there to take it.
    async fn hand_on(&self, asked: &Asked, page: Page, place: Option<Place>) -> ControlFlow<()> {
        let mut labels = Labels::new().with(Labels::PATH, self.fetcher.shown(&asked.url)).with("status", page.status.as_str());
        if let Some(etag) = page.etag {
            labels = labels.with("etag", etag);
        }
        let arrived = Arrived { labels, received_at_us: now_us(), payload: page.body, place };
        match self.out.send(arrived).await {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }

    /// The place after a whole round.
    fn reached(&self, started: Timestamp, page: &Page, cursor: Option<String>) -> Place {
        Place {
            fetched_at: Some(started),
            asked: self.place.asked.clone(),
            etag: page.etag.clone(),
            last_modified: page.last_modified.clone(),
            cursor: cursor.or_else(|| self.place.cursor.clone()),
            not_before: later(page.fresh_for),
        }
    }

    fn resumed_cursor(&self) -> Option<&str> {
        match self.config.paging {
            Paging::Cursor { resume: true, .. } => self.place.cursor.as_deref(),
            _ => None,
        }
    }

    fn unchanged(&mut self, fresh_for: Duration) -> ControlFlow<()> {
        self.place.not_before = later(fresh_for);
        ControlFlow::Continue(())
    }

    /// The place stays where it is, so the next round asks for the same again.
    fn give_up(&self, reason: String) -> ControlFlow<()> {
        self.report(reason);
        ControlFlow::Continue(())
    }

    fn report(&self, reason: String) {
        tracing::warn!(feed = %self.feed, reason, "the service cannot be read");
        self.health.waiting(reason);
    }
}

/// The time `wait` from now; none when there is no wait.
fn later(wait: Duration) -> Option<Timestamp> {
    let ms = i64::try_from(wait.as_millis()).ok().filter(|ms| *ms > 0)?;
    Timestamp::from_millisecond(Timestamp::now().as_millisecond() + ms).ok()
}
