//! What happened to alerts, as readings of table `alert_history`.

use std::sync::Arc;

use bytes::Bytes;
use datasjo_datasets::Decoder;
use datasjo_state::Transition;
use datasjo_table::{Access, Column, Kind, OBSERVED_AT, Table};
use serde_json::json;

use crate::keep;

/// The table.
pub const ALERT_HISTORY: &str = "alert_history";
/// The feed that brings its rows.
pub const ALERT_FEED: &str = "alerts";

/// The table's definition and what reads its lines.
///
/// # Errors
/// A defect of this file.
pub fn alert_history() -> Result<(Arc<Table>, Arc<Decoder>), String> {
    let column = |name: &str, kind: Kind, nullable: bool, meaning: &str| Column {
        name: name.to_owned(),
        kind,
        unit: None,
        nullable,
        min: None,
        max: None,
        one_of: Vec::new(),
        meaning: meaning.to_owned(),
    };
    let table = Arc::new(Table {
        name: ALERT_HISTORY.to_owned(),
        meaning: "What happened to each alert: raised, updated, acknowledged, cleared, corrected.".to_owned(),
        key: vec!["alert_id".to_owned(), "number".to_owned(), OBSERVED_AT.to_owned()],
        lateness_h: 24,
        retention_days: None,
        owner: "it".to_owned(),
        licence: "https://data.norge.no/nlod/no/2.0".to_owned(),
        access: Access::Restricted,
        columns: vec![
            column("alert_id", Kind::Text, false, "The alert."),
            column("number", Kind::Text, false, "Its how manieth transition, from 1."),
            column(OBSERVED_AT, Kind::Time, false, "The tick of the row, or the moment of the action."),
            column("transition", Kind::Text, false, "What happened."),
            column("product", Kind::Text, false, "The product whose alert it is."),
            column("key", Kind::Text, false, "What it is about: key columns and their values."),
            column("state", Kind::Text, false, "Where the alert stands after it."),
            column("level", Kind::Int, false, "0 nothing, 1 yellow, 2 orange, 3 red."),
            column("class", Kind::Text, true, "What kind of matter it is."),
            column("who", Kind::Text, true, "The person; null if rows did it."),
            column("why", Kind::Text, true, "Why."),
            column("row", Kind::Text, true, "The row that did it, as JSON."),
        ],
    });
    let decoder = keep::decoder(&table)?;
    Ok((table, Arc::new(decoder)))
}

/// One transition as a line.
pub(crate) fn payload(transition: &Transition) -> Bytes {
    let at = jiff::Timestamp::from_microsecond(transition.at_us).map(|at| at.to_string()).unwrap_or_default();
    let row = transition.row.as_ref().map(|row| serde_json::Value::Object(row.clone()).to_string());
    let line = json!({
        "alert_id": transition.alert_id,
        "number": transition.number.to_string(),
        OBSERVED_AT: at,
        "transition": transition.transition.name(),
        "product": transition.product,
        "key": transition.key,
        "state": transition.state.name(),
        "level": transition.level,
        "class": transition.class,
        "who": transition.who,
        "why": transition.why,
        "row": row,
    });
    Bytes::from(line.to_string())
}
