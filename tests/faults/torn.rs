//! The newest file of every kind is found empty, cut in half or missing, as a power cut can leave it on a disk that does not
//! keep its word; the journal still has what the last round committed. No start needs a person, every row is there once, and
//! what was damaged is kept as evidence.

use std::path::{Path, PathBuf};

use datasjo_journal::faulty::Disk;
use datasjo_lake::MaintenancePlan;
use datasjo_lake::recover::SetAside;
use serde_json::Value;

use crate::support::engine::{
    AT_THE_END, Counts, Engine, METERS, expected, ledger, message, number, reading, readings, rows_at_rest, when_full,
};
use crate::support::store::Rules;

const TABLES: [&str; 3] = ["water_meters", "rejects", "ledger"];

#[derive(Clone, Copy, Debug)]
enum Damage {
    Empty,
    Half,
    Missing,
}

const DAMAGES: [Damage; 3] = [Damage::Empty, Damage::Half, Damage::Missing];

impl Damage {
    fn inflict(self, path: &Path) {
        match self {
            Damage::Empty => std::fs::write(path, b"").unwrap(),
            Damage::Half => {
                let whole = std::fs::read(path).unwrap();
                std::fs::write(path, &whole[..whole.len() / 2]).unwrap();
            }
            Damage::Missing => std::fs::remove_file(path).unwrap(),
        }
    }
}

/// A lake with two rounds of nine readings and a reject each, and the journal as it was before the second was committed.
struct Scene {
    engine: Engine,
    before: Disk,
}

/// When the checkpoint is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Checkpoint {
    AfterTheFirstRound,
    AfterBoth,
}

fn portion(number: i64) -> Vec<(String, i64, f64)> {
    (0..9).map(|n| (format!("m{}", n % 2), number * 7_200 + n * 600, (100 * number + n) as f64)).collect()
}

fn send(engine: &Engine, number: i64) {
    engine.send(METERS, portion(number).iter().map(|(id, at_s, value)| reading(id, *at_s, *value)));
    engine.send(METERS, [message(format!("garbage {number}"))]);
}

impl Scene {
    async fn with(checkpoint: Checkpoint) -> Self {
        use std::sync::atomic::Ordering::SeqCst;
        let mut engine = Engine::new(&[METERS]);
        let life = engine.start(when_full(10)).await;
        let checkpoints = MaintenancePlan { checkpoint_versions: 1, max_open_day_files: 1_000, ..MaintenancePlan::for_day(0) };
        send(&engine, 0);
        life.committed(10).await;
        for report in life.lake.maintain(checkpoints).await {
            report.unwrap();
        }
        // The second round is held up until the journal was copied.
        life.faults.refuse_writes.store(true, SeqCst);
        send(&engine, 1);
        engine.acknowledged(METERS, 20).await;
        life.commit_fails().await;
        let before = engine.disk.after_power_cut(|_| None);
        life.faults.refuse_writes.store(false, SeqCst);
        life.committed(20).await;
        if checkpoint == Checkpoint::AfterBoth {
            for report in life.lake.maintain(checkpoints).await {
                report.unwrap();
            }
        }
        life.stop().await;
        Self { engine, before }
    }

    /// The scene as it was, in a place of its own.
    fn again(&self) -> Engine {
        let mut engine = Engine::new(&[METERS]);
        engine.disk = self.before.after_power_cut(Some);
        copy(&self.engine.lake_dir, &engine.lake_dir);
        engine
    }

    /// Tears `table`, starts, takes one more reading and ends; tells what was set aside.
    async fn survives(&self, case: &str, table: &str, tear: impl FnOnce(&Path)) -> Vec<SetAside> {
        let mut engine = self.again();
        tear(&engine.lake_dir.join(table));
        let life = match engine.try_start(&Rules::well(), AT_THE_END).await {
            Ok(life) => life,
            Err(error) => panic!("{table}: {case}: it does not start: {error}"),
        };
        life.visible(20).await;
        let mut sent = [portion(0), portion(1)].concat();
        assert_eq!(readings(&life.lake).await, expected(sent.clone()), "{table}: {case}");
        engine.send(METERS, [reading("new", 0, 1.0)]);
        sent.push(("new".to_owned(), 0, 1.0));
        engine.acknowledged(METERS, 1).await;
        let set_aside = life.set_aside.clone();
        life.stop().await;

        let lake = engine.lake().await;
        assert_eq!(readings(&lake).await, expected(sent), "{table}: {case}");
        assert_eq!(rows_at_rest(&lake), 19, "{table}: {case}");
        let rejects = "SELECT count(DISTINCT seq) * 100 + count(*) AS n FROM rejects";
        assert_eq!(number(&lake, rejects).await, 202, "{table}: {case}: two rejects of two deliveries");
        let counts = Counts { deliveries: 21, received: 21, committed: 19, rejected: 2, ..Counts::default() };
        assert_eq!(ledger(&lake, METERS).await, counts, "{table}: {case}");
        for table in lake.tables() {
            assert_eq!(table.damaged_files().unwrap(), Vec::<String>::new(), "{table}: {case}", table = table.name());
        }
        assert!(set_aside.iter().all(|a| a.path.exists() && !a.reason.is_empty()), "{table}: {case}: {set_aside:?}");
        set_aside
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

/// The file of the log with the highest name that ends in `ending`.
fn newest(table: &Path, ending: &str) -> PathBuf {
    let entries = std::fs::read_dir(table.join("_delta_log")).unwrap().map(|e| e.unwrap().path());
    entries.filter(|p| p.to_string_lossy().ends_with(ending)).max().unwrap_or_else(|| panic!("no {ending} in {table:?}"))
}

/// A data file that the newest commit added.
fn newest_data_file(table: &Path) -> PathBuf {
    let commit = std::fs::read_to_string(newest(table, ".json")).unwrap();
    let added = commit.lines().find_map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["add"]["path"].as_str().map(str::to_owned)
    });
    table.join(added.unwrap())
}

fn is_about(set_aside: &[SetAside], table: &str, name: &Path) -> bool {
    let name = name.file_name().unwrap().to_string_lossy().into_owned();
    set_aside.iter().any(|a| a.table == table && a.path.file_name().unwrap().to_string_lossy().starts_with(&name))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_newest_commit_is_set_aside_and_its_rows_come_again_once() {
    for checkpoint in [Checkpoint::AfterTheFirstRound, Checkpoint::AfterBoth] {
        let scene = Scene::with(checkpoint).await;
        for table in TABLES {
            let commit = newest(&scene.engine.lake_dir.join(table), ".json");
            for damage in [Damage::Empty, Damage::Half] {
                let case = format!("the newest commit is {damage:?}");
                let set_aside = scene.survives(&case, table, |dir| damage.inflict(&newest(dir, ".json"))).await;
                assert!(is_about(&set_aside, table, &commit), "{table}: {case}: {set_aside:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rows_of_a_newest_commit_that_is_missing_come_again_once() {
    let scene = Scene::with(Checkpoint::AfterTheFirstRound).await;
    for table in TABLES {
        let missing = |dir: &Path| Damage::Missing.inflict(&newest(dir, ".json"));
        scene.survives("the newest commit is missing", table, missing).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_data_file_is_torn_is_set_aside_and_its_rows_come_again_once() {
    for checkpoint in [Checkpoint::AfterTheFirstRound, Checkpoint::AfterBoth] {
        let scene = Scene::with(checkpoint).await;
        for table in TABLES {
            let commit = newest(&scene.engine.lake_dir.join(table), ".json");
            for damage in DAMAGES {
                let case = format!("the newest data file is {damage:?}");
                let set_aside = scene.survives(&case, table, |dir| damage.inflict(&newest_data_file(dir))).await;
                assert!(is_about(&set_aside, table, &commit), "{table}: {case}: {set_aside:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_checkpoint_stops_no_start() {
    for checkpoint in [Checkpoint::AfterTheFirstRound, Checkpoint::AfterBoth] {
        let scene = Scene::with(checkpoint).await;
        for table in TABLES {
            for damage in DAMAGES {
                let case = format!("the newest checkpoint is {damage:?}");
                scene.survives(&case, table, |dir| damage.inflict(&newest(dir, ".checkpoint.parquet"))).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_hint_at_the_checkpoint_stops_no_start() {
    let scene = Scene::with(Checkpoint::AfterBoth).await;
    for table in TABLES {
        for damage in DAMAGES {
            let case = format!("_last_checkpoint is {damage:?}");
            scene.survives(&case, table, |dir| damage.inflict(&newest(dir, "_last_checkpoint"))).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_never_got_their_name_are_removed_and_strays_are_not_read() {
    let scene = Scene::with(Checkpoint::AfterTheFirstRound).await;
    for table in TABLES {
        let mut engine = scene.again();
        let dir = engine.lake_dir.join(table);
        let day = newest_data_file(&dir).parent().unwrap().to_owned();
        let commit = newest(&dir, ".json");
        let next = commit.with_file_name(format!("{:020}.json#1", 3));
        let (staged, stray) = (day.join("part-0.parquet#1"), day.join("part-1.parquet"));
        std::fs::write(&next, b"{\"add\":{").unwrap();
        std::fs::write(&staged, b"PAR1").unwrap();
        std::fs::write(&stray, b"PAR1 and what else a dead process left").unwrap();
        let life = engine.start(AT_THE_END).await;
        life.visible(20).await;
        assert_eq!(readings(&life.lake).await, expected([portion(0), portion(1)].concat()), "{table}");
        assert!(!next.exists() && !staged.exists(), "{table}: a staged file stays");
        life.stop().await;
        assert_eq!(rows_at_rest(&engine.lake().await), 18, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_whose_first_commit_is_torn_is_made_again() {
    for damage in DAMAGES {
        let mut engine = Engine::new(&[METERS]);
        engine.start(AT_THE_END).await.stop().await;
        for table in TABLES {
            damage.inflict(&newest(&engine.lake_dir.join(table), ".json"));
        }
        let life = engine.start(AT_THE_END).await;
        send(&engine, 0);
        engine.acknowledged(METERS, 10).await;
        life.stop().await;
        let lake = engine.lake().await;
        assert_eq!((readings(&lake).await, rows_at_rest(&lake)), (expected(portion(0)), 9), "{damage:?}");
        assert_eq!(ledger(&lake, METERS).await.committed, 9, "{damage:?}");
    }
}
