//! What people do to alerts. Pure, as the rest of the lifecycle.

use crate::alert::{Acknowledged, Action, Alert, AlertState, Transition, TransitionKind, What};

/// Most characters of a person's name.
const WHO_CHARS: usize = 200;
/// Most characters of a reason or comment.
const WHY_CHARS: usize = 4_000;

/// Does what a person wants with an alert, open or closed.
///
/// # Errors
/// A sentence about why not.
pub(crate) fn act(alert: &mut Alert, action: &Action, at_us: i64) -> Result<Transition, String> {
    check(action, at_us)?;
    let open = alert.state.is_open();
    let fits = match action.what {
        What::Comment => true,
        What::Resolve | What::FalseAlarm => open || alert.state == AlertState::Cleared,
        What::Acknowledge | What::Assign { .. } | What::Silence { .. } => open,
    };
    if !fits {
        return Err(format!("the alert is closed: {}", alert.state.name()));
    }
    let kind = match &action.what {
        What::Comment => TransitionKind::Commented,
        What::Resolve => close(alert, AlertState::Resolved, at_us),
        What::FalseAlarm => close(alert, AlertState::FalseAlarm, at_us),
        What::Acknowledge => acknowledge(alert, &action.who, at_us)?,
        What::Assign { to } => {
            alert.assignee = Some(to.clone());
            TransitionKind::Assigned
        }
        What::Silence { .. } => {
            alert.state = AlertState::Silenced;
            TransitionKind::Silenced
        }
    };
    let mut told = alert.transition(kind, at_us);
    told.who = Some(action.who.clone());
    told.why = why(action);
    Ok(told)
}

fn close(alert: &mut Alert, state: AlertState, at_us: i64) -> TransitionKind {
    alert.state = state;
    alert.falling = None;
    alert.closed_at_us = alert.closed_at_us.or(Some(at_us));
    match state {
        AlertState::FalseAlarm => TransitionKind::FalseAlarm,
        _ => TransitionKind::Resolved,
    }
}

fn acknowledge(alert: &mut Alert, who: &str, at_us: i64) -> Result<TransitionKind, String> {
    if let Some(before) = &alert.acknowledged {
        return Err(format!("{} acknowledged it already, at {}", before.by, instant(before.at_us)));
    }
    alert.acknowledged = Some(Acknowledged { by: who.to_owned(), at_us });
    if alert.state == AlertState::Raised {
        alert.state = AlertState::Acknowledged;
    }
    Ok(TransitionKind::Acknowledged)
}

/// Limits of what people write.
pub(crate) fn check(action: &Action, at_us: i64) -> Result<(), String> {
    check_name("who", &action.who)?;
    let why = action.why.as_deref().unwrap_or_default();
    if why.chars().count() > WHY_CHARS {
        return Err(format!("the reason is longer than {WHY_CHARS} characters"));
    }
    match &action.what {
        What::Assign { to } => check_name("the assignee", to),
        What::Comment if why.trim().is_empty() => Err("the comment is empty".to_owned()),
        What::Silence { until_us } if *until_us <= at_us => Err("the silence would end before it begins".to_owned()),
        _ => Ok(()),
    }
}

fn check_name(what: &str, name: &str) -> Result<(), String> {
    match name.chars().count() {
        _ if name.trim().is_empty() => Err(format!("{what} is empty")),
        chars if chars > WHO_CHARS => Err(format!("{what} is longer than {WHO_CHARS} characters")),
        _ => Ok(()),
    }
}

/// A person's reason; for a silence also until when, for an assignment also to whom.
fn why(action: &Action) -> Option<String> {
    let more = match &action.what {
        What::Silence { until_us } => format!("until {}", instant(*until_us)),
        What::Assign { to } => format!("to {to}"),
        _ => return action.why.clone(),
    };
    Some(match &action.why {
        Some(why) => format!("{more}: {why}"),
        None => more,
    })
}

/// An instant for people.
pub(crate) fn instant(us: i64) -> String {
    jiff::Timestamp::from_microsecond(us).map_or_else(|_| format!("{us} us"), |at| at.to_string())
}
