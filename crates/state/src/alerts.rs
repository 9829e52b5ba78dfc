//! Alerts at rest: read by filter or name, changed by people, bounded in number.

use std::cmp::Reverse;

use redb::{ReadableTable, WriteTransaction};
use serde::{Deserialize, Serialize};

use crate::actions::{act, check};
use crate::alert::{Action, Alert, Silence, Transition, What};
use crate::lifecycle::{Judged, Watch};
use crate::store::{ALERTS, Fault, HISTORY, JsonTable, META, OUTBOX, SILENCES, WATCHES, get, place, put, scan, step_of};
use crate::{State, StateError};

/// How many closed alerts are kept here, the newest; all are in the lake.
pub const CLOSED_KEPT: usize = 1_000;
/// How many transitions of an alert are kept here beside the first, the newest; all are in the lake.
pub const HISTORY_KEPT: u64 = 500;
/// The next number of the outbox.
const OUTBOX_NEXT: &str = "outbox_next";
/// In place of a product: all of them. No product is called so.
const EVERY_PRODUCT: &str = "*";
/// How long a silence is kept after its end: a month, longer than a run may lag behind.
const SILENCE_KEPT_US: i64 = 30 * 86_400_000_000;

/// Which alerts; the default is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// `Some(true)`: open ones; `Some(false)`: closed ones.
    pub open: Option<bool>,
    /// Of this product.
    pub product: Option<String>,
    /// To which something has happened since, microseconds since 1970 UTC.
    pub since_us: Option<i64>,
}

impl Filter {
    fn takes(&self, alert: &Alert) -> bool {
        self.open.is_none_or(|open| open == alert.state.is_open())
            && self.product.as_ref().is_none_or(|product| *product == alert.product)
            && self.since_us.is_none_or(|since_us| since_us <= alert.updated_at_us)
    }
}

impl State {
    /// The alerts that `filter` takes: open before closed, the open ones by level from red, then the newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn alerts(&self, filter: &Filter) -> Result<Vec<Alert>, StateError> {
        let mut alerts: Vec<Alert> = self.read("read alerts of", |txn| scan(&txn.open_table(ALERTS)?, ""))?;
        alerts.retain(|alert| filter.takes(alert));
        alerts.sort_by_cached_key(|alert| {
            let open = alert.state.is_open();
            (!open, Reverse(if open { alert.level } else { 0 }), Reverse(alert.raised_at_us), alert.id.clone())
        });
        Ok(alerts)
    }

    /// The alert called `id` with its transitions in their order; `None` if there is none, or it closed so long ago that only
    /// the lake knows it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn alert(&self, id: &str) -> Result<Option<(Alert, Vec<Transition>)>, StateError> {
        self.read("read an alert of", |txn| {
            let alert: Option<Alert> = get(&txn.open_table(ALERTS)?, id)?;
            let Some(alert) = alert else { return Ok(None) };
            let history = scan(&txn.open_table(HISTORY)?, &place(id, ""))?;
            Ok(Some((alert, history)))
        })
    }

    /// Does what a person wants with an alert; `at_us` is the moment, microseconds since 1970 UTC. Synced when it returns.
    ///
    /// # Errors
    /// [`StateError::Unknown`] if there is no such alert; [`StateError::Refused`] if the action does not fit it.
    pub fn act(&self, id: &str, action: &Action, at_us: i64) -> Result<Transition, StateError> {
        self.write("write an action to", |txn| {
            let mut book = Book::open(txn)?;
            let alert: Option<Alert> = get(&book.alerts, id)?;
            let alert = alert.ok_or_else(|| StateError::Unknown { id: id.to_owned() })?;
            let told = book.act(alert, action, at_us)?;
            book.trim(std::slice::from_ref(&told))?;
            Ok(told)
        })
    }

    /// Tells nobody of a key from `silence.from_us`, the moment of the wish, until `silence.until_us`: open alerts of the key are
    /// silenced, and new ones are raised so. Replaces the silence of the same product and key.
    ///
    /// # Errors
    /// [`StateError::Refused`] if it would end before it begins or a text is too long.
    pub fn silence(&self, silence: &Silence) -> Result<Vec<Transition>, StateError> {
        let what = What::Silence { until_us: silence.until_us };
        let action = Action { who: silence.who.clone(), why: silence.why.clone(), what };
        check(&action, silence.from_us).map_err(|reason| StateError::Refused { reason })?;
        self.write("write a silence to", |txn| {
            let mut book = Book::open(txn)?;
            book.forget_silences(silence.from_us)?;
            book.put_silence(silence)?;
            let alerts: Vec<Alert> = scan(&book.alerts, "")?;
            let meant = |alert: &Alert| {
                let product = silence.product.as_ref().is_none_or(|product| *product == alert.product);
                alert.state.is_open() && alert.key == silence.key && product
            };
            let mut told = Vec::new();
            for alert in alerts.into_iter().filter(meant) {
                told.push(book.change(alert, &action, silence.from_us)?);
            }
            Ok(told)
        })
    }

    /// The silences that cover `at_us` or come later, by product and key.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn silences(&self, at_us: i64) -> Result<Vec<Silence>, StateError> {
        let mut silences: Vec<Silence> = self.read("read silences of", |txn| scan(&txn.open_table(SILENCES)?, ""))?;
        silences.retain(|silence| at_us < silence.until_us);
        Ok(silences)
    }
}

/// A [`Watch`] at rest: its alerts by name.
#[derive(Default, Serialize, Deserialize)]
struct WatchRecord {
    open: Option<String>,
    closed: Option<String>,
    muted: bool,
    /// Tick, level, fingerprint.
    judged: Vec<(i64, Option<u8>, u64)>,
}

/// The tables of alerts, open for writing.
pub(crate) struct Book<'txn> {
    alerts: JsonTable<'txn>,
    watches: JsonTable<'txn>,
    history: JsonTable<'txn>,
    silences: JsonTable<'txn>,
    outbox: redb::Table<'txn, u64, &'static [u8]>,
    meta: redb::Table<'txn, &'static str, u64>,
}

impl<'txn> Book<'txn> {
    pub fn open(txn: &'txn WriteTransaction) -> Result<Self, Fault> {
        Ok(Self {
            alerts: txn.open_table(ALERTS)?,
            watches: txn.open_table(WATCHES)?,
            history: txn.open_table(HISTORY)?,
            silences: txn.open_table(SILENCES)?,
            outbox: txn.open_table(OUTBOX)?,
            meta: txn.open_table(META)?,
        })
    }

    pub fn watch(&self, product: &str, key: &str) -> Result<Watch, Fault> {
        let record: WatchRecord = get(&self.watches, &place(product, key))?.unwrap_or_default();
        let mut silences = Vec::new();
        for scope in [product, EVERY_PRODUCT] {
            silences.extend(get::<Silence>(&self.silences, &place(scope, key))?);
        }
        let judged = record.judged.into_iter();
        Ok(Watch {
            open: self.named(record.open)?,
            closed: self.named(record.closed)?,
            muted: record.muted,
            judged: judged.map(|(at_us, level, fingerprint)| Judged { at_us, level, fingerprint }).collect(),
            silences,
        })
    }

    fn named(&self, id: Option<String>) -> Result<Option<Alert>, Fault> {
        match id {
            Some(id) => get(&self.alerts, &id),
            None => Ok(None),
        }
    }

    pub fn save(&mut self, product: &str, key: &str, watch: &Watch) -> Result<(), Fault> {
        if let Some(open) = &watch.open {
            put(&mut self.alerts, &open.id, open)?;
        }
        let id = |alert: &Option<Alert>| alert.as_ref().map(|alert| alert.id.clone());
        let record = WatchRecord {
            open: id(&watch.open),
            closed: id(&watch.closed),
            muted: watch.muted,
            judged: watch.judged.iter().map(|j| (j.at_us, j.level, j.fingerprint)).collect(),
        };
        put(&mut self.watches, &place(product, key), &record)
    }

    /// Keeps transitions for the lake and for those who look; and an alert that was closed, before the next takes its place.
    pub fn record(&mut self, transitions: &[Transition], watch: &Watch) -> Result<(), Fault> {
        for transition in transitions {
            self.record_one(transition)?;
        }
        match &watch.closed {
            Some(closed) if !transitions.is_empty() => put(&mut self.alerts, &closed.id, closed),
            _ => Ok(()),
        }
    }

    fn record_one(&mut self, transition: &Transition) -> Result<(), Fault> {
        let next = self.meta.get(OUTBOX_NEXT)?.map_or(1, |next| next.value());
        self.meta.insert(OUTBOX_NEXT, next + 1)?;
        let bytes = serde_json::to_vec(transition)?;
        self.outbox.insert(next, bytes.as_slice())?;
        self.history.insert(step_of(&transition.alert_id, transition.number).as_str(), bytes.as_slice())?;
        if transition.number > HISTORY_KEPT + 1 {
            self.history.remove(step_of(&transition.alert_id, transition.number - HISTORY_KEPT).as_str())?;
        }
        Ok(())
    }

    fn act(&mut self, alert: Alert, action: &Action, at_us: i64) -> Result<Transition, Fault> {
        if let What::Silence { until_us } = action.what {
            check(action, at_us).map_err(refused)?;
            self.put_silence(&Silence {
                product: Some(alert.product.clone()),
                key: alert.key.clone(),
                from_us: at_us,
                until_us,
                who: action.who.clone(),
                why: action.why.clone(),
            })?;
        }
        self.change(alert, action, at_us)
    }

    fn change(&mut self, mut alert: Alert, action: &Action, at_us: i64) -> Result<Transition, Fault> {
        let mut watch = self.watch(&alert.product, &alert.key)?;
        if watch.open.as_ref().is_some_and(|open| open.id == alert.id) {
            let told = watch.act(action, at_us).map_err(refused)?;
            self.record(std::slice::from_ref(&told), &watch)?;
            self.save(&alert.product, &alert.key, &watch)?;
            return Ok(told);
        }
        let told = act(&mut alert, action, at_us).map_err(refused)?;
        put(&mut self.alerts, &alert.id, &alert)?;
        self.record_one(&told)?;
        Ok(told)
    }

    fn put_silence(&mut self, silence: &Silence) -> Result<(), Fault> {
        let scope = silence.product.as_deref().unwrap_or(EVERY_PRODUCT);
        put(&mut self.silences, &place(scope, &silence.key), silence)
    }

    fn forget_silences(&mut self, at_us: i64) -> Result<(), Fault> {
        let silences: Vec<Silence> = scan(&self.silences, "")?;
        for old in silences.iter().filter(|silence| silence.until_us.saturating_add(SILENCE_KEPT_US) < at_us) {
            let scope = old.product.as_deref().unwrap_or(EVERY_PRODUCT);
            self.silences.remove(place(scope, &old.key).as_str())?;
        }
        Ok(())
    }

    /// Forgets the alerts closed longest ago, if any was closed now and there are too many.
    pub fn trim(&mut self, told: &[Transition]) -> Result<(), Fault> {
        if told.iter().all(|transition| transition.state.is_open()) {
            return Ok(());
        }
        let alerts: Vec<Alert> = scan(&self.alerts, "")?;
        let mut closed: Vec<(i64, String)> =
            alerts.into_iter().filter_map(|alert| Some((alert.closed_at_us?, alert.id))).collect();
        closed.sort();
        let too_many = closed.len().saturating_sub(CLOSED_KEPT);
        for (_, id) in &closed[..too_many] {
            self.alerts.remove(id.as_str())?;
            // `0` is what follows `/`, so the range holds the transitions of this alert.
            let (from, to) = (format!("{id}/"), format!("{id}0"));
            self.history.retain_in::<&str, _>(from.as_str()..to.as_str(), |_, _| false)?;
        }
        Ok(())
    }
}

fn refused(reason: String) -> StateError {
    StateError::Refused { reason }
}
