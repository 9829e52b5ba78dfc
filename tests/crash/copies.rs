//! Journal and lake from different moments, as a restored backup leaves them, with the real program.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

use super::publisher::publish;
use super::town;
use crate::support::datasjo::Datasjo;
use crate::support::mosquitto::Mosquitto;

static TOWNS: AtomicU32 = AtomicU32::new(0);

/// A town whose instance is started and ended between copies.
struct Town {
    broker: Mosquitto,
    topic: String,
    datasjo: Datasjo,
    _dir: TempDir,
}

impl Town {
    async fn start() -> Self {
        let broker = Mosquitto::start().await;
        let topic = format!("copies/{}", TOWNS.fetch_add(1, Ordering::Relaxed));
        let (dir, datasjo) = town(&broker.url(), &topic, 200_000).await;
        Self { broker, topic, datasjo, _dir: dir }
    }

    /// Publishes readings `from..to`.
    async fn publish(&self, from: u32, to: u32) {
        let message = |n: u32| json!({"id": format!("m{n}"), "t": "2026-03-01T00:00:00Z", "v": n}).to_string();
        let messages: Vec<String> = (from..to).map(message).collect();
        let (tell, _) = watch::channel(0);
        publish(self.broker.port(), &self.topic, &messages, &tell).await.unwrap();
    }

    fn journal(&self) -> PathBuf {
        self.datasjo.data_dir().join("journal.redb")
    }

    fn lake(&self) -> PathBuf {
        self.datasjo.data_dir().join("lake")
    }

    /// Names in the data directory, in order.
    fn data(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.datasjo.data_dir()).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Distinct and all readings SQL shows, while nothing runs.
    async fn readings(&self) -> (Value, Value) {
        let sql = "SELECT count(DISTINCT meter_id) AS meters, count(*) AS n FROM water_meters";
        let mut answer = self.datasjo.query(sql).await.remove(0);
        (answer["meters"].take(), answer["n"].take())
    }

    async fn ill(&self, check: &str) -> Vec<Value> {
        self.datasjo.doctor().await.into_iter().filter(|f| f["check"] == check && f["well"] == false).collect()
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_older_than_the_lake_is_set_aside_and_no_number_is_given_twice() {
    let mut town = Town::start().await;
    town.publish(0, 20).await;
    town.datasjo.reaches("committed_seq", 20).await;
    town.datasjo.terminate().await;
    let copy = town.journal().with_file_name("copy");
    std::fs::copy(town.journal(), &copy).unwrap();
    town.datasjo.start().await;
    town.publish(20, 40).await;
    town.datasjo.reaches("committed_seq", 40).await;
    town.datasjo.terminate().await;

    std::fs::rename(&copy, town.journal()).unwrap();
    assert_eq!(town.ill("marker").await.len(), 2, "doctor tells of the two tables that are ahead: readings and ledger");
    town.datasjo.start().await;
    // Also again what the lake knows already.
    town.publish(10, 50).await;
    town.datasjo.reaches("committed_seq", 40).await;
    town.datasjo.terminate().await;
    assert_eq!(town.readings().await, (json!(50), json!(50)));
    assert_eq!(town.ill("marker").await, Vec::<Value>::new());
    assert_eq!(town.ill("ledger").await, Vec::<Value>::new());
    let names = town.data();
    assert!(names.iter().any(|n| n.starts_with("journal.older-")), "the older journal is kept: {names:?}");
    let sums = "SELECT sum(deliveries) AS deliveries, sum(committed) AS committed, sum(duplicate) AS duplicate FROM ledger";
    let sums = town.datasjo.query(sums).await;
    assert_eq!(sums, [json!({"deliveries": 80, "committed": 50, "duplicate": 30})]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lake_older_than_the_journal_goes_on_and_the_log_tells_what_it_lacks() {
    let mut town = Town::start().await;
    town.publish(0, 20).await;
    town.datasjo.reaches("committed_seq", 20).await;
    town.datasjo.terminate().await;
    let backup = tempfile::tempdir().unwrap();
    copy(&town.lake(), backup.path());
    town.datasjo.start().await;
    town.publish(20, 40).await;
    town.datasjo.reaches("committed_seq", 40).await;
    town.datasjo.terminate().await;

    std::fs::remove_dir_all(town.lake()).unwrap();
    copy(backup.path(), &town.lake());
    town.datasjo.start().await;
    town.publish(40, 50).await;
    town.datasjo.reaches("committed_seq", 50).await;
    town.datasjo.terminate().await;
    assert_eq!(town.readings().await, (json!(30), json!(30)), "what comes is kept");
    let log = town.datasjo.log();
    assert!(log.contains("the journal has no entries in this range"), "nobody is told:\n{log}");
    assert!(log.contains("to=40"), "the log does not say which:\n{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_with_a_damaged_journal_needs_nobody_and_keeps_what_comes() {
    let mut town = Town::start().await;
    town.publish(0, 20).await;
    town.datasjo.reaches("committed_seq", 20).await;
    town.datasjo.terminate().await;
    let whole = std::fs::read(town.journal()).unwrap();
    std::fs::write(town.journal(), &whole[..whole.len() / 2]).unwrap();

    town.datasjo.start().await;
    town.publish(10, 30).await;
    town.datasjo.reaches("committed_seq", 20).await;
    town.datasjo.terminate().await;
    assert_eq!(town.readings().await, (json!(30), json!(30)));
    assert_eq!(town.ill("ledger").await, Vec::<Value>::new());
    assert!(town.data().contains(&"journal.redb.damaged-1".to_owned()), "the evidence is kept: {:?}", town.data());
    assert!(town.datasjo.log().contains("set aside"), "nobody is told");
}
