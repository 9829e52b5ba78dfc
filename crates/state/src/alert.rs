//! What an alert is, what can become of it, and what a person can do to it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Where an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// Open, and nobody has taken it yet.
    Raised,
    /// Open, and somebody has seen it.
    Acknowledged,
    /// Open, kept in the history, and told to nobody.
    Silenced,
    /// Closed by a person.
    Resolved,
    /// Closed by a person, who says that there was nothing.
    FalseAlarm,
    /// Closed because its rows say that it is over.
    Cleared,
}

impl AlertState {
    /// True while the alert goes on.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Raised | Self::Acknowledged | Self::Silenced)
    }

    /// As in the table of transitions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Acknowledged => "acknowledged",
            Self::Silenced => "silenced",
            Self::Resolved => "resolved",
            Self::FalseAlarm => "false_alarm",
            Self::Cleared => "cleared",
        }
    }
}

/// What has happened to an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransitionKind {
    /// It is new.
    Raised,
    /// Level, class or size have changed, the basis was lost or is back, or a silence is over.
    Updated,
    /// Somebody has seen it.
    Acknowledged,
    /// It is somebody's.
    Assigned,
    /// Somebody has written something.
    Commented,
    /// Somebody has closed it.
    Resolved,
    /// Somebody has closed it: there was nothing.
    FalseAlarm,
    /// Nobody is told of it until a time.
    Silenced,
    /// A tick was judged again, because of rows that came late.
    Corrected,
    /// Its rows say that it is over.
    Cleared,
}

impl TransitionKind {
    /// As in the table of transitions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Updated => "updated",
            Self::Acknowledged => "acknowledged",
            Self::Assigned => "assigned",
            Self::Commented => "commented",
            Self::Resolved => "resolved",
            Self::FalseAlarm => "false_alarm",
            Self::Silenced => "silenced",
            Self::Corrected => "corrected",
            Self::Cleared => "cleared",
        }
    }
}

/// One thing that has happened to an alert; a row of the table `alert_history`, where (`alert_id`, `number`) is the key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// The alert.
    pub alert_id: String,
    /// 1 for the first of an alert, then one more each.
    pub number: u64,
    /// When, microseconds since 1970 UTC: the tick of a row, the moment of an action, and for a correction the tick up to which
    /// the correcting run answered.
    pub at_us: i64,
    /// What.
    pub transition: TransitionKind,
    /// The product.
    pub product: String,
    /// The key, as [`key_text`](crate::key_text) writes it.
    pub key: String,
    /// Where the alert stands after it.
    pub state: AlertState,
    /// The alert's level after it, 0 to 3.
    pub level: u8,
    /// The alert's class after it.
    pub class: Option<String>,
    /// The person; `None` if rows did it.
    pub who: Option<String>,
    /// Why, for people.
    pub why: Option<String>,
    /// Whether anybody is to be told: not while silenced, and not when a correction left the level as it was.
    pub tell: bool,
    /// The row that did it; `None` if a person did.
    pub row: Option<Map<String, Value>>,
}

/// Who has seen an alert, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// The person.
    pub by: String,
    /// Microseconds since 1970 UTC.
    pub at_us: i64,
}

/// The rows an alert rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The row that raised it.
    pub raised: Map<String, Value>,
    /// The newest row of its key.
    pub newest: Map<String, Value>,
    /// The newest row's tick, microseconds since 1970 UTC.
    pub newest_at_us: i64,
}

/// A level that is lower than the alert's and waits for its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Falling {
    /// The first tick below the alert's level.
    pub since_us: i64,
    /// The highest level since.
    pub level: u8,
}

/// An alert, open or closed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Short text made of product, key and raising tick: the same in every replay.
    pub id: String,
    /// The product.
    pub product: String,
    /// The key, as [`key_text`](crate::key_text) writes it.
    pub key: String,
    /// Where it stands.
    pub state: AlertState,
    /// 1 yellow, 2 orange, 3 red; 0 once cleared. The last one when a person closed it.
    pub level: u8,
    /// The highest level it has had.
    pub highest_level: u8,
    /// What it is.
    pub class: Option<String>,
    /// The largest step of size it has had.
    pub step: i64,
    /// The tick that raised it, microseconds since 1970 UTC.
    pub raised_at_us: i64,
    /// When the matter itself began, by the newest row that says so; else the raising tick. Microseconds since 1970 UTC.
    pub started_at_us: i64,
    /// The last transition, microseconds since 1970 UTC.
    pub updated_at_us: i64,
    /// When it was closed, microseconds since 1970 UTC; `None` while it is open.
    pub closed_at_us: Option<i64>,
    /// Who has seen it.
    pub acknowledged: Option<Acknowledged>,
    /// Whose it is.
    pub assignee: Option<String>,
    /// The newest reason its rows gave.
    pub reason: Option<String>,
    /// False while its rows have no basis to judge by: level and class are then the last known ones.
    pub has_basis: bool,
    /// Its rows.
    pub evidence: Evidence,
    /// The text of the product that raised it, as a hash.
    pub rule_hash: String,
    /// How many transitions it has had.
    pub transitions: u64,
    pub(crate) falling: Option<Falling>,
}

/// What a person does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// The person; not empty, at most 200 characters.
    pub who: String,
    /// Why; at most 4,000 characters. Owed by [`What::Comment`].
    pub why: Option<String>,
    /// What.
    pub what: What,
}

/// What can be done to an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Seen.
    Acknowledge,
    /// It is this person's, or this group's.
    Assign {
        /// The name; not empty, at most 200 characters.
        to: String,
    },
    /// Written: [`Action::why`] is the text. Closed alerts may be commented too.
    Comment,
    /// Over. The same condition going on does not raise it again. A cleared alert may be judged so afterwards.
    Resolve,
    /// There was nothing. Otherwise as [`What::Resolve`].
    FalseAlarm,
    /// Tell nobody of this product's key until then.
    Silence {
        /// Microseconds since 1970 UTC; later than the action.
        until_us: i64,
    },
}

/// A time in which nobody is told of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// The product; `None`: all that have the key.
    pub product: Option<String>,
    /// The key, as [`key_text`](crate::key_text) writes it.
    pub key: String,
    /// The first tick it covers, microseconds since 1970 UTC.
    pub from_us: i64,
    /// The first tick it does not cover any more, microseconds since 1970 UTC.
    pub until_us: i64,
    /// Who wanted it.
    pub who: String,
    /// Why.
    pub why: Option<String>,
}

impl Silence {
    pub(crate) fn covers(&self, tick_us: i64) -> bool {
        (self.from_us..self.until_us).contains(&tick_us)
    }
}

impl Alert {
    /// Counts a transition and describes the alert as it stands now.
    pub(crate) fn transition(&mut self, transition: TransitionKind, at_us: i64) -> Transition {
        self.transitions += 1;
        self.updated_at_us = self.updated_at_us.max(at_us);
        Transition {
            alert_id: self.id.clone(),
            number: self.transitions,
            at_us,
            transition,
            product: self.product.clone(),
            key: self.key.clone(),
            state: self.state,
            level: self.level,
            class: self.class.clone(),
            who: None,
            why: None,
            tell: self.state != AlertState::Silenced,
            row: None,
        }
    }

    /// Where it stands when it is not silenced.
    pub(crate) fn awake(&self) -> AlertState {
        if self.acknowledged.is_some() { AlertState::Acknowledged } else { AlertState::Raised }
    }
}
