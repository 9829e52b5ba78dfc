//! What must be true in the end.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::script::{Key, Script};
use crate::support::datasjo::{Datasjo, GUARD};

/// Waits until SQL shows the last message, and with it all before.
pub async fn drained(datasjo: &Datasjo, script: &Script) {
    let deadline = Instant::now() + GUARD;
    let (meter, _) = Script::last();
    let sql = format!("SELECT count(*) AS n FROM water_meters WHERE meter_id = '{meter}'");
    while datasjo.sql(&sql).await[0]["n"] != 1 {
        if Instant::now() > deadline {
            let shown = readings(datasjo.sql(READINGS).await).len();
            panic!("the last message never comes; {shown} of {} are there:\n{}", script.readings.len(), datasjo.log());
        }
        sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// Gives account of a program that was ended in order, after every message was sent at most `sendings` times and its connection
/// was cut `cuts` times.
pub async fn is_exact(datasjo: &Datasjo, script: &Script, sendings: usize, cuts: usize) {
    let shown = readings(datasjo.query(READINGS).await);
    assert_same(&shown, &script.readings);
    let rejects = rejects(datasjo, script, sendings * (1 + cuts)).await;
    let ledger = balanced_ledger(datasjo).await;
    let doctor = datasjo.doctor().await;
    assert_well(&doctor);

    assert_eq!(ledger["deliveries"], deliveries(&doctor), "a delivery in the journal was not counted once: {ledger:?}");
    assert_eq!(ledger["received"], ledger["deliveries"], "each message is one reading or one reject: {ledger:?}");
    assert!(ledger["received"] >= script.messages.len() as u64, "{ledger:?}");
    assert_eq!(ledger["in_flight"], 0, "{ledger:?}");
    assert_eq!(ledger["rejected"], rejects, "{ledger:?}");
    assert_eq!(ledger["committed"] - ledger["revised"], script.readings.len() as u64, "{ledger:?}");
    // SQL hides what was revised; in the files nothing may be doubled either.
    assert_eq!(ledger["committed"], datasjo.rows_at_rest("water_meters").await, "{ledger:?}");
}

const READINGS: &str = "SELECT meter_id, CAST(observed_at AS VARCHAR) AS at, CAST(register_m3 AS BIGINT) AS m3 FROM water_meters";

fn readings(rows: Vec<Value>) -> BTreeMap<Key, i64> {
    let mut found = BTreeMap::new();
    for row in rows {
        let key = (row["meter_id"].as_str().unwrap().to_owned(), row["at"].as_str().unwrap().to_owned());
        let before = found.insert(key, row["m3"].as_i64().unwrap());
        assert_eq!(before, None, "it is there twice: {row}");
    }
    found
}

fn assert_same(shown: &BTreeMap<Key, i64>, sent: &BTreeMap<Key, i64>) {
    let keys: BTreeSet<&Key> = shown.keys().chain(sent.keys()).collect();
    let wrong: Vec<String> = keys
        .into_iter()
        .filter(|key| shown.get(*key) != sent.get(*key))
        .map(|key| format!("{key:?}: sent {:?}, shown {:?}", sent.get(key), shown.get(key)))
        .collect();
    assert!(wrong.is_empty(), "{} of {} are wrong, first {:?}", wrong.len(), sent.len(), &wrong[..wrong.len().min(5)]);
}

/// Garbage has no key, so each delivery of it is kept: at least one of each payload, none that nobody sent, one for each delivery
/// in the journal. A delivery whose acknowledgement a death swallowed comes again, so there may be one more for each.
async fn rejects(datasjo: &Datasjo, script: &Script, at_most_each: usize) -> u64 {
    let rows = datasjo.query("SELECT raw, seq FROM rejects").await;
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    let mut deliveries = BTreeSet::new();
    for row in &rows {
        *times.entry(row["raw"].as_str().unwrap()).or_default() += 1;
        assert!(deliveries.insert(row["seq"].as_u64().unwrap()), "a delivery was rejected twice: {row}");
    }
    let hex = |payload: &String| payload.bytes().map(|b| format!("{b:02x}")).collect::<String>();
    let sent: BTreeSet<String> = script.garbage.iter().map(hex).collect();
    assert_eq!(times.keys().copied().collect::<BTreeSet<_>>(), sent.iter().map(String::as_str).collect());
    assert!(times.values().all(|n| *n <= at_most_each), "more than {at_most_each} times: {times:?}");
    rows.len() as u64
}

const COUNTS: [&str; 7] = ["deliveries", "received", "committed", "revised", "duplicate", "rejected", "in_flight"];

/// The sums of the ledger, after making sure that it balances for every feed and hour.
async fn balanced_ledger(datasjo: &Datasjo) -> BTreeMap<&'static str, u64> {
    let columns = COUNTS.map(|name| format!("sum({name}) AS {name}")).join(", ");
    let sql = format!("SELECT feed, hour, {columns} FROM ledger GROUP BY feed, hour");
    let mut sums = BTreeMap::new();
    for line in datasjo.query(&sql).await {
        let count = |name: &str| line[name].as_u64().unwrap_or_else(|| panic!("{name} in {line}"));
        let parts = count("committed") + count("duplicate") + count("rejected") + count("in_flight");
        assert_eq!(count("received"), parts, "the ledger does not balance: {line}");
        for name in COUNTS {
            *sums.entry(name).or_default() += count(name);
        }
    }
    sums
}

/// Nothing is wrong with journal, markers, ledger, keys or files. (Sensors may be silent: these are.)
fn assert_well(doctor: &[Value]) {
    let of_sensors = |finding: &&Value| finding["check"] == "silent" || finding["check"] == "clock";
    let ill: Vec<&Value> = doctor.iter().filter(|f| f["well"] != true).filter(|f| !of_sensors(f)).collect();
    assert!(ill.is_empty(), "{ill:?}");
    for check in ["journal", "marker", "ledger", "doubles", "files"] {
        assert!(doctor.iter().any(|f| f["check"] == check), "doctor does not look at {check}");
    }
}

/// How many deliveries the journal has ever taken.
fn deliveries(doctor: &[Value]) -> u64 {
    let journal = doctor.iter().find(|f| f["check"] == "journal").unwrap()["found"].as_str().unwrap();
    journal.split_whitespace().next().unwrap().parse().unwrap_or_else(|_| panic!("no number of deliveries in {journal:?}"))
}
