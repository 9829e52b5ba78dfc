use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, bail};
use datasjo_state::{Action, Alert, Filter, Silence, State, StateError, Transition, What};
use serde_json::{Map, Value, json};

use crate::args::{Alerts, AlertsAct, AlertsCommand, AlertsList, AlertsSilence};

/// From lowest to highest.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// More curves than this do not help; they come by name.
const MAX_CURVES: usize = 8;

/// Shows alerts, or does to one what a person wants.
pub(crate) fn run(dir: &Path, args: Alerts) -> anyhow::Result<bool> {
    let state = open(dir)?;
    let json = args.json;
    let text = match args.command.unwrap_or_default() {
        AlertsCommand::List(list) => list_all(&state, list, json)?,
        AlertsCommand::Show { id } => show(&state, &id, json)?,
        AlertsCommand::Ack(act) => change(&state, act, What::Acknowledge, json)?,
        AlertsCommand::Resolve(act) => change(&state, act, What::Resolve, json)?,
        AlertsCommand::FalseAlarm(act) => change(&state, act, What::FalseAlarm, json)?,
        AlertsCommand::Silence(silence) => hush(&state, silence, json)?,
    };
    super::say(&text)?;
    Ok(true)
}

fn open(dir: &Path) -> anyhow::Result<State> {
    let path = super::load(dir)?.data_dir.join("state.redb");
    if !path.exists() {
        bail!("there is no state in {} yet: no product has run here", path.display());
    }
    let state = match State::open(&path) {
        Err(StateError::InUse { path }) => {
            bail!("{} is in use by a running instance; this command works while it is stopped", path.display())
        }
        opened => opened?,
    };
    if let Some(aside) = state.set_aside() {
        eprintln!("the state was damaged and is set aside as {}: {}", aside.path.display(), aside.reason);
    }
    Ok(state)
}

fn list_all(state: &State, args: AlertsList, json: bool) -> anyhow::Result<String> {
    let filter = Filter { open: (!args.all).then_some(true), product: args.product, since_us: None };
    let alerts = state.alerts(&filter)?;
    if json {
        return pretty(&serde_json::to_value(&alerts)?);
    }
    let mut text = format!("{:<12} {:>5} {:<12} {:<20} {:<20} {}\n", "alert", "level", "state", "raised", "product", "key");
    for Alert { id, level, state, raised_at_us, product, key, class, assignee, .. } in &alerts {
        let (state, raised) = (state.name(), instant(*raised_at_us));
        let _ = write!(text, "{id:<12} {level:>5} {state:<12} {raised:<20} {product:<20} {key}");
        let more = class.iter().cloned().chain(assignee.iter().map(|name| format!("with {name}")));
        let _ = writeln!(text, "{}", more.map(|part| format!(", {part}")).collect::<String>());
    }
    if alerts.is_empty() {
        text = "no alerts\n".to_owned();
    }
    for Silence { product, key, until_us, who, .. } in state.silences(datasjo_sources::now_us())? {
        let scope = product.map_or_else(String::new, |product| format!(" of {product}"));
        let _ = writeln!(text, "silenced: {key}{scope} until {}, by {who}", instant(until_us));
    }
    Ok(text)
}

fn show(state: &State, id: &str, json: bool) -> anyhow::Result<String> {
    let id = whole_id(state, id)?;
    let (alert, history) = state.alert(&id)?.with_context(|| format!("there is no alert {id}"))?;
    if json {
        return pretty(&json!({ "alert": alert, "history": history }));
    }
    let mut text = headline(&alert);
    text.push_str("\nevidence\n");
    text.push_str(&evidence(&alert));
    text.push_str("\nhistory\n");
    for told in &history {
        text.push_str(&history_line(told));
    }
    let curves = curves(&alert, &history);
    if !curves.is_empty() {
        text.push_str("\ncurves, one mark for each row of the history and the newest\n");
    }
    for (name, values) in curves.iter().take(MAX_CURVES) {
        let (low, high) = bounds(values);
        let _ = writeln!(text, "  {name:<24} {} {low} to {high}", plot(values));
    }
    Ok(text)
}

fn headline(alert: &Alert) -> String {
    let Alert { id, product, key, level, highest_level, .. } = alert;
    let mut text = format!("{id}  {product}  {key}\n");
    let _ = writeln!(text, "  {}, level {level}, highest {highest_level}", alert.state.name());
    let _ = writeln!(text, "  began {}, raised {}", instant(alert.started_at_us), instant(alert.raised_at_us));
    if let Some(closed_us) = alert.closed_at_us {
        let _ = writeln!(text, "  closed {}", instant(closed_us));
    }
    if !alert.has_basis {
        text.push_str("  at present without a basis: level and class are the last known ones\n");
    }
    let seen = alert.acknowledged.as_ref().map(|seen| format!("seen by {} at {}", seen.by, instant(seen.at_us)));
    let with = alert.assignee.as_ref().map(|name| format!("with {name}"));
    for part in [alert.class.clone(), alert.reason.clone(), seen, with].into_iter().flatten() {
        let _ = writeln!(text, "  {part}");
    }
    text
}

/// Every column of the raising and the newest row beside each other.
fn evidence(alert: &Alert) -> String {
    let (raised, newest) = (&alert.evidence.raised, &alert.evidence.newest);
    let newest_at = instant(alert.evidence.newest_at_us);
    let mut text = format!("  {:<24} {:<24} newest, {newest_at}\n", "", "raised");
    let names: BTreeSet<&String> = raised.keys().chain(newest.keys()).collect();
    for name in names {
        let _ = writeln!(text, "  {name:<24} {:<24} {}", cell(raised, name), cell(newest, name));
    }
    text
}

fn cell(row: &Map<String, Value>, name: &str) -> String {
    match row.get(name) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn history_line(told: &Transition) -> String {
    let Transition { number, transition, level, who, why, .. } = told;
    let who = who.as_ref().map_or_else(String::new, |who| format!(" by {who}"));
    let why = why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    let quiet = if told.tell { "" } else { " (not told)" };
    format!("  {number:>4} {:<20} level {level} {}{who}{why}{quiet}\n", instant(told.at_us), transition.name())
}

/// The numbers of the rows in their order, by column; columns that never change are no curves.
fn curves(alert: &Alert, history: &[Transition]) -> Vec<(String, Vec<f64>)> {
    let rows = history.iter().filter_map(|told| told.row.as_ref()).chain([&alert.evidence.newest]);
    let mut curves: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (name, value) in rows.flatten() {
        if let Some(number) = value.as_f64() {
            curves.entry(name.clone()).or_default().push(number);
        }
    }
    curves.retain(|_, values| values.iter().any(|value| *value != values[0]));
    curves.into_iter().collect()
}

fn bounds(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)))
}

/// One bar for each value, from the lowest to the highest of them.
fn plot(values: &[f64]) -> String {
    let (low, high) = bounds(values);
    let top = (BARS.len() - 1) as f64;
    let bar = |value: &f64| {
        let height = if high > low { (value - low) / (high - low) * top } else { 0.0 };
        BARS[(height.round() as usize).min(BARS.len() - 1)]
    };
    values.iter().map(bar).collect()
}

fn change(state: &State, args: AlertsAct, what: What, json: bool) -> anyhow::Result<String> {
    let id = whole_id(state, &args.id)?;
    let action = Action { who: args.who, why: args.why, what };
    let told = state.act(&id, &action, datasjo_sources::now_us())?;
    if json { pretty(&serde_json::to_value(&told)?) } else { Ok(format!("{id}\n{}", history_line(&told))) }
}

fn hush(state: &State, args: AlertsSilence, json: bool) -> anyhow::Result<String> {
    let silence = Silence {
        product: args.product,
        key: args.key,
        from_us: datasjo_sources::now_us(),
        until_us: args.until.as_microsecond(),
        who: args.who,
        why: args.why,
    };
    let told = state.silence(&silence)?;
    if json {
        return pretty(&serde_json::to_value(&told)?);
    }
    let mut text = format!("{} is silenced until {}\n", silence.key, instant(silence.until_us));
    for transition in &told {
        let _ = write!(text, "{}\n{}", transition.alert_id, history_line(transition));
    }
    Ok(text)
}

/// An alert may be named by the beginning of its name, if only one begins so.
fn whole_id(state: &State, beginning: &str) -> anyhow::Result<String> {
    let alerts = state.alerts(&Filter::default())?;
    let mut begin_so = alerts.into_iter().map(|alert| alert.id).filter(|id| id.starts_with(beginning));
    match (begin_so.next(), begin_so.next()) {
        (Some(only), None) => Ok(only),
        (Some(one), Some(other)) => bail!("more than one alert begins with {beginning}: {one}, {other}"),
        (None, _) => bail!("there is no alert {beginning}"),
    }
}

fn pretty(value: &Value) -> anyhow::Result<String> {
    Ok(format!("{}\n", serde_json::to_string_pretty(value)?))
}

fn instant(us: i64) -> String {
    jiff::Timestamp::from_microsecond(us).map_or_else(|_| format!("{us} us"), |at| format!("{at:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_goes_from_the_lowest_bar_to_the_highest() {
        assert_eq!(plot(&[0.0, 7.0, 3.0, 7.0]), "▁█▄█");
        assert_eq!(plot(&[2.0, 2.0]), "▁▁");
    }

    #[test]
    fn an_instant_is_shown_to_the_second() {
        assert_eq!(instant(1_500_000), "1970-01-01T00:00:01Z");
    }
}
