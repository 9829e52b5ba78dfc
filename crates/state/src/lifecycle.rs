//! What rows and people make of alerts. Pure: no store, no clock; the same rows and actions in the same order always give the
//! same alerts and transitions.
//!
//! ```text
//!            level above 0                 level 0 (held)
//!   nothing ───────────────► open ────────────────────────► cleared
//!      ▲                      │ resolve, false alarm
//!      │ level was 0 once     ▼
//!      └───────────────── muted: the condition goes on, and is not raised again
//! ```

use std::collections::VecDeque;

use crate::actions::{act, instant};
use crate::alert::{Action, Alert, AlertState, Evidence, Falling, Silence, Transition, TransitionKind};
use crate::fingerprint::name;
use crate::row::{Judgement, ProductRow};

/// How many ticks of a key are remembered, to tell a repetition from a correction. An older tick that is judged again changes
/// nothing here; its row in the lake is a revision all the same.
pub const JUDGED_KEPT: usize = 100;

/// A tick that was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    /// Microseconds since 1970 UTC.
    pub at_us: i64,
    pub level: Option<u8>,
    /// Of all values of the row.
    pub fingerprint: u64,
}

/// All the lifecycle knows of one key of one product. At most one alert can be open: there is one place for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Watch {
    pub open: Option<Alert>,
    /// The one closed last.
    pub closed: Option<Alert>,
    /// A person closed the alert while its condition went on; level 0 ends this.
    pub muted: bool,
    /// The newest ticks, ascending; at most [`JUDGED_KEPT`].
    pub judged: VecDeque<Judged>,
    /// The silences of this key.
    pub silences: Vec<Silence>,
}

/// What a product says of its alerts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    pub product: &'a str,
    pub rule_hash: &'a str,
    /// How long rows must be below an alert's level before it falls, microseconds.
    pub down_hold_us: i64,
    /// The tick up to which this run answers: the time of a correction.
    pub up_to_us: i64,
}

/// A row and what it says.
struct Seen<'a> {
    row: &'a ProductRow,
    key: &'a str,
    said: Judgement,
    rules: &'a Rules<'a>,
}

impl Seen<'_> {
    fn tick_us(&self) -> i64 {
        self.row.as_of_us
    }

    fn id(&self) -> String {
        name(&[self.rules.product, self.key, &self.tick_us().to_string()])
    }
}

impl Watch {
    /// Takes a row of `key`. One that was taken already changes nothing; one for a remembered tick with other values is a
    /// correction.
    ///
    /// # Errors
    /// A sentence about a column that cannot be read.
    pub fn take(&mut self, key: &str, row: &ProductRow, rules: &Rules<'_>) -> Result<Vec<Transition>, String> {
        let seen = Seen { row, key, said: row.judgement()?, rules };
        let now = Judged { at_us: row.as_of_us, level: seen.said.level, fingerprint: row.fingerprint() };
        if let Some(known) = self.judged.iter_mut().find(|judged| judged.at_us == now.at_us) {
            let before = std::mem::replace(known, now);
            let repeated = before.fingerprint == now.fingerprint;
            return Ok(if repeated { Vec::new() } else { self.correct(&seen, before) });
        }
        if self.newest_us().is_some_and(|newest| newest > now.at_us) {
            return Ok(Vec::new());
        }
        self.judged.push_back(now);
        if self.judged.len() > JUDGED_KEPT {
            self.judged.pop_front();
        }
        Ok(self.judge(&seen).into_iter().collect())
    }

    fn newest_us(&self) -> Option<i64> {
        self.judged.back().map(|judged| judged.at_us)
    }

    fn is_silenced(&self, tick_us: i64) -> bool {
        self.silences.iter().any(|silence| silence.covers(tick_us))
    }

    /// What the newest row makes of the alert.
    fn judge(&mut self, seen: &Seen<'_>) -> Option<Transition> {
        if seen.said.level == Some(0) {
            self.muted = false;
        }
        let silenced = self.is_silenced(seen.tick_us());
        let told = match &mut self.open {
            Some(alert) => follow(alert, seen, silenced),
            None => self.raise(seen, silenced),
        };
        self.put_away();
        told
    }

    fn raise(&mut self, seen: &Seen<'_>, silenced: bool) -> Option<Transition> {
        let level = seen.said.level.filter(|level| *level > 0 && !self.muted)?;
        let tick_us = seen.tick_us();
        let values = &seen.row.values;
        let alert = self.open.insert(Alert {
            id: seen.id(),
            product: seen.rules.product.to_owned(),
            key: seen.key.to_owned(),
            state: if silenced { AlertState::Silenced } else { AlertState::Raised },
            level,
            highest_level: level,
            class: seen.said.class.clone(),
            step: seen.said.step,
            raised_at_us: tick_us,
            started_at_us: seen.said.started_at_us.unwrap_or(tick_us),
            updated_at_us: tick_us,
            closed_at_us: None,
            acknowledged: None,
            assignee: None,
            reason: seen.said.reason.clone(),
            has_basis: true,
            evidence: Evidence { raised: values.clone(), newest: values.clone(), newest_at_us: tick_us },
            rule_hash: seen.rules.rule_hash.to_owned(),
            transitions: 0,
            falling: None,
        });
        Some(because(alert.transition(TransitionKind::Raised, tick_us), seen.said.reason.clone(), seen))
    }

    /// A tick was judged again. Never a second alert: the one that covers the tick is told, and goes on, ends or opens again.
    fn correct(&mut self, seen: &Seen<'_>, before: Judged) -> Vec<Transition> {
        let is_newest = self.newest_us() == Some(seen.tick_us());
        if is_newest {
            self.reopen(seen);
        }
        let mut told: Vec<Transition> = self.note(seen, before).into_iter().collect();
        if is_newest {
            told.extend(self.judge(seen));
        }
        told
    }

    /// Opens the last alert again if this very tick had closed or raised it, and should not have closed it.
    fn reopen(&mut self, seen: &Seen<'_>) {
        let Some(level) = seen.said.level.filter(|level| *level > 0 && self.open.is_none() && !self.muted) else { return };
        let tick_us = seen.tick_us();
        let closed_by_it = |alert: &Alert| alert.state == AlertState::Cleared && alert.closed_at_us == Some(tick_us);
        let Some(mut alert) = self.closed.take_if(|alert| closed_by_it(alert) || alert.raised_at_us == tick_us) else { return };
        alert.closed_at_us = None;
        alert.state = if self.is_silenced(tick_us) { AlertState::Silenced } else { alert.awake() };
        alert.level = level;
        alert.highest_level = alert.highest_level.max(level);
        self.open = Some(alert);
    }

    /// Tells the alert that covers the tick that it was judged again.
    fn note(&mut self, seen: &Seen<'_>, before: Judged) -> Option<Transition> {
        let tick_us = seen.tick_us();
        let open = self.open.as_mut().filter(|alert| alert.raised_at_us <= tick_us);
        let closed = self.closed.as_mut();
        let closed = closed.filter(|a| a.raised_at_us <= tick_us && a.closed_at_us.is_some_and(|closed| tick_us <= closed));
        let alert = open.or(closed)?;
        let (was, is) = (shown(before.level), shown(seen.said.level));
        let new_level = before.level != seen.said.level;
        let why = match new_level {
            true => format!("the tick {} was judged again: {is} instead of {was}", instant(tick_us)),
            false => format!("the tick {} was judged again: other figures, still {is}", instant(tick_us)),
        };
        let mut told = because(alert.transition(TransitionKind::Corrected, seen.rules.up_to_us.max(tick_us)), Some(why), seen);
        told.tell &= new_level;
        Some(told)
    }

    /// Does what a person wants with the open alert.
    ///
    /// # Errors
    /// A sentence about why not.
    pub fn act(&mut self, action: &Action, at_us: i64) -> Result<Transition, String> {
        let alert = self.open.as_mut().ok_or("the alert is closed")?;
        let told = act(alert, action, at_us)?;
        self.put_away();
        Ok(told)
    }

    fn put_away(&mut self) {
        if let Some(alert) = self.open.take_if(|alert| !alert.state.is_open()) {
            let goes_on = self.judged.back().is_none_or(|judged| judged.level != Some(0));
            self.muted = goes_on && alert.state != AlertState::Cleared;
            self.closed = Some(alert);
        }
    }
}

/// What a row makes of an open alert.
fn follow(alert: &mut Alert, seen: &Seen<'_>, silenced: bool) -> Option<Transition> {
    let tick_us = seen.tick_us();
    alert.evidence.newest = seen.row.values.clone();
    alert.evidence.newest_at_us = tick_us;
    alert.started_at_us = seen.said.started_at_us.unwrap_or(alert.started_at_us);
    let level = seen.said.level.map(|level| held(alert, level, tick_us, seen.rules.down_hold_us));
    if level == Some(0) {
        return Some(clear(alert, seen));
    }
    let mut changes = Vec::new();
    if alert.state == AlertState::Silenced && !silenced {
        alert.state = alert.awake();
        changes.push("the silence is over".to_owned());
    }
    match level {
        Some(level) => change(alert, level, &seen.said, &mut changes),
        None => lose_basis(alert, &seen.said, &mut changes),
    }
    if changes.is_empty() {
        return None;
    }
    Some(because(alert.transition(TransitionKind::Updated, tick_us), Some(changes.join("; ")), seen))
}

/// The level that holds now: up at once, down when all rows of the hold were lower, and then to the highest of them.
fn held(alert: &mut Alert, level: u8, tick_us: i64, down_hold_us: i64) -> u8 {
    if level >= alert.level {
        alert.falling = None;
        return level;
    }
    let falling = match alert.falling {
        Some(falling) => Falling { level: falling.level.max(level), ..falling },
        None => Falling { since_us: tick_us, level },
    };
    if tick_us.saturating_sub(falling.since_us) < down_hold_us {
        alert.falling = Some(falling);
        return alert.level;
    }
    alert.falling = (level < falling.level).then_some(Falling { since_us: tick_us, level });
    falling.level
}

/// Takes level, class and size. A row below the held level says nothing of class and size.
fn change(alert: &mut Alert, level: u8, said: &Judgement, changes: &mut Vec<String>) {
    if !alert.has_basis {
        alert.has_basis = true;
        changes.push("there is a basis again".to_owned());
    }
    if level != alert.level {
        changes.push(format!("level {} to {level}", alert.level));
        alert.level = level;
        alert.highest_level = alert.highest_level.max(level);
    }
    if said.level < Some(level) {
        return;
    }
    alert.reason = said.reason.clone().or_else(|| alert.reason.take());
    if said.class.is_some() && said.class != alert.class {
        let (was, is) = (alert.class.as_deref().unwrap_or("none"), said.class.as_deref().unwrap_or("none"));
        changes.push(format!("class {was} to {is}"));
        alert.class = said.class.clone();
    }
    if said.step > alert.step {
        changes.push(format!("size step {} to {}", alert.step, said.step));
        alert.step = said.step;
    }
}

/// Without a basis the alert stays as it is, and that is told once. A level that was falling has to fall anew.
fn lose_basis(alert: &mut Alert, said: &Judgement, changes: &mut Vec<String>) {
    alert.falling = None;
    if !alert.has_basis {
        return;
    }
    alert.has_basis = false;
    changes.push(match &said.reason {
        Some(reason) => format!("no basis to judge by: {reason}"),
        None => "no basis to judge by".to_owned(),
    });
}

fn clear(alert: &mut Alert, seen: &Seen<'_>) -> Transition {
    let was_told = alert.state != AlertState::Silenced;
    alert.state = AlertState::Cleared;
    alert.level = 0;
    alert.has_basis = true;
    alert.falling = None;
    alert.closed_at_us = Some(seen.tick_us());
    let mut told = because(alert.transition(TransitionKind::Cleared, seen.tick_us()), seen.said.reason.clone(), seen);
    told.tell = was_told;
    told
}

fn because(mut told: Transition, why: Option<String>, seen: &Seen<'_>) -> Transition {
    told.why = why;
    told.row = Some(seen.row.values.clone());
    told
}

fn shown(level: Option<u8>) -> String {
    level.map_or_else(|| "no basis".to_owned(), |level| format!("level {level}"))
}
