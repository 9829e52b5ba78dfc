use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, UNIX_EPOCH};

use datasjo_table::Labels;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::HealthReport;

/// Longer than any step here takes and shorter than the regular look at a folder; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
pub(super) struct Kept(Mutex<HashMap<String, Vec<u8>>>);

impl Cursors for Kept {
    fn load(&self, feed: &str) -> Result<Option<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.lock().unwrap().get(feed).cloned())
    }

    fn store(&self, feed: &str, place: &[u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.0.lock().unwrap().insert(feed.to_owned(), place.to_vec());
        Ok(())
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn source(cursors: &Arc<Kept>, path: &Path, keys: Value) -> FileSource {
    let mut config = json!({ "path": path });
    config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    FileSource::new("test", serde_json::from_value(config).unwrap(), cursors.clone()).unwrap()
}

fn once(path: &Path, keys: Value) -> FileSource {
    source(&Arc::default(), path, keys)
}

fn watched(path: &Path) -> FileSource {
    source(&Arc::default(), path, json!({ "watch": true, "settle_for_ms": 0 }))
}

async fn next(source: &mut FileSource) -> Option<Delivery> {
    timeout(PATIENCE, source.next()).await.expect("an answer in time").unwrap()
}

async fn text(source: &mut FileSource) -> String {
    let delivery = next(source).await.expect("not the end");
    String::from_utf8(delivery.payload.to_vec()).unwrap()
}

/// All that is left, settled as it comes.
async fn all(source: &mut FileSource) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(delivery) = next(source).await {
        source.settle(delivery.mark).await.unwrap();
        all.push(String::from_utf8(delivery.payload.to_vec()).unwrap());
    }
    all
}

/// Lets the source run until its health is as wanted; it must not deliver meanwhile.
async fn until(source: &mut FileSource, wanted: impl Fn(&HealthReport) -> bool) {
    let health = source.health();
    let reached = async {
        while !wanted(&health.report()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        delivery = source.next() => panic!("delivered {delivery:?}"),
        done = timeout(PATIENCE, reached) => done.expect("the wanted health in time"),
    }
}

#[tokio::test]
async fn a_folder_is_read_once_in_the_order_of_names() {
    let folder = folder(&[("b.csv", b"2\n"), ("a.csv", b"1\n"), ("c.txt", b"3\n")]);
    let mut source = once(folder.path(), json!({ "pattern": "*.csv" }));
    let first = next(&mut source).await.unwrap();
    assert_eq!((&first.payload[..], first.mark), (&b"1\n"[..], 1));
    assert_eq!((first.labels.get(Labels::FILE), first.labels.get("offset")), (Some("a.csv"), Some("0")));
    assert_eq!(text(&mut source).await, "2\n");
    assert!(next(&mut source).await.is_none());
    assert_eq!(source.health().report().state, State::Ended);
}

#[tokio::test]
async fn a_file_settled_to_its_end_is_not_read_twice_even_with_a_new_date() {
    let folder = folder(&[("a.csv", b"1\n")]);
    let cursors = Arc::default();
    assert_eq!(all(&mut source(&cursors, folder.path(), json!({}))).await, ["1\n"]);
    assert!(all(&mut source(&cursors, folder.path(), json!({}))).await.is_empty());

    let file = File::options().append(true).open(folder.path().join("a.csv")).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
    assert!(all(&mut source(&cursors, folder.path(), json!({}))).await.is_empty());

    fs::write(folder.path().join("a.csv"), "1\n2\n").unwrap();
    assert_eq!(all(&mut source(&cursors, folder.path(), json!({}))).await, ["1\n2\n"]);
}

#[tokio::test]
async fn a_file_that_was_not_settled_is_read_again() {
    let folder = folder(&[("a.csv", b"1\n")]);
    let cursors = Arc::default();
    let mut first = source(&cursors, folder.path(), json!({}));
    assert_eq!(text(&mut first).await, "1\n");
    first.stop().await;
    assert_eq!(all(&mut source(&cursors, folder.path(), json!({}))).await, ["1\n"]);
}

#[tokio::test]
async fn a_long_csv_comes_in_parts_each_with_its_header() {
    let rows: Vec<String> = (0..2000).map(|number| format!("{number};{}\n", number * 7)).collect();
    let packed = gzip(&format!("id;value\n{}", rows.concat()));
    let folder = folder(&[("counts.csv.gz", &packed)]);
    let mut source = once(folder.path(), json!({ "pattern": "*.csv.gz", "header_lines": 1, "chunk_bytes": 4096 }));
    let parts = all(&mut source).await;
    assert!(parts.len() > 2, "{} parts", parts.len());
    let read: Vec<_> = parts.iter().map(|part| part.strip_prefix("id;value\n").expect("a header")).collect();
    assert_eq!(read.concat(), rows.concat());
}

#[tokio::test]
async fn a_last_line_without_an_end_is_read_once() {
    let folder = folder(&[("a.csv", b"1\n2")]);
    assert_eq!(all(&mut once(folder.path(), json!({}))).await.concat(), "1\n2");
}

#[tokio::test]
async fn a_torn_file_gives_what_it_has_and_ends_with_an_error_after_the_others() {
    let lines: String = (0..20_000).map(|number| format!("{number}\n")).collect();
    let whole = gzip(&lines);
    let folder = folder(&[("a.gz", &whole[..whole.len() / 2]), ("b.csv", b"last\n")]);
    let mut source = once(folder.path(), json!({}));
    let mut read = String::new();
    let error = loop {
        match timeout(PATIENCE, source.next()).await.unwrap() {
            Ok(delivery) => read.push_str(std::str::from_utf8(&delivery.expect("an error first").payload).unwrap()),
            Err(error) => break error,
        }
    };
    let torn = read.strip_suffix("last\n").expect("the other file");
    assert!(!torn.is_empty() && lines.starts_with(torn));
    assert!(matches!(&error, SourceError::Io { path, .. } if path.ends_with("a.gz")), "{error:?}");
    assert!(next(&mut source).await.is_none());
    assert_eq!(source.health().report().state, State::Failed);
}

#[tokio::test]
async fn a_whole_file_that_is_too_long_or_missing_is_an_error() {
    let folder = folder(&[("a.json", b"[1, 2, 3]")]);
    let keys = json!({ "lines": false, "max_payload_bytes": 8 });
    let error = once(folder.path(), keys).next().await.unwrap_err();
    assert!(matches!(error, SourceError::Io { .. }), "{error:?}");
    let error = once(&folder.path().join("none"), json!({})).next().await.unwrap_err();
    assert!(matches!(error, SourceError::Io { .. }), "{error:?}");
}

#[tokio::test]
async fn a_watched_folder_tells_of_new_files() {
    let folder = folder(&[("a.csv", b"1\n")]);
    let mut source = watched(folder.path());
    assert_eq!(text(&mut source).await, "1\n");
    fs::write(folder.path().join(".b.part"), "2\n").unwrap();
    fs::rename(folder.path().join(".b.part"), folder.path().join("b.csv")).unwrap();
    assert_eq!(text(&mut source).await, "2\n");
}

#[tokio::test]
async fn a_watched_file_that_ends_within_a_line_is_read_on_when_it_grows() {
    let folder = folder(&[("a.csv", b"1\n2")]);
    let mut source = watched(&folder.path().join("a.csv"));
    assert_eq!(text(&mut source).await, "1\n");
    until(&mut source, |health| health.reason.contains("within a line")).await;
    File::options().append(true).open(folder.path().join("a.csv")).unwrap().write_all(b"2\n").unwrap();
    assert_eq!(text(&mut source).await, "1\n22\n");
    until(&mut source, |health| health.reason.is_empty()).await;
}

#[tokio::test]
async fn a_watched_file_that_is_torn_is_read_when_it_is_whole() {
    let whole = gzip("1\n2\n");
    let folder = folder(&[("a.gz", &whole[..whole.len() - 4])]);
    let mut source = watched(folder.path());
    assert_eq!(text(&mut source).await, "1\n2\n");
    until(&mut source, |health| health.reason.contains("a.gz")).await;
    fs::write(folder.path().join(".a.part"), &whole).unwrap();
    fs::rename(folder.path().join(".a.part"), folder.path().join("a.gz")).unwrap();
    assert_eq!(text(&mut source).await, "1\n2\n");
}

#[tokio::test]
async fn a_missing_folder_is_waited_for_when_watching() {
    let folder = folder(&[]);
    let mut source = watched(&folder.path().join("none"));
    until(&mut source, |health| health.state == State::Waiting && health.reason.contains("none")).await;
}

#[tokio::test]
async fn it_stops_while_a_long_file_waits_to_be_taken() {
    let long = "0123456789\n".repeat(10_000);
    let folder = folder(&[("a.csv", long.as_bytes())]);
    let mut source = once(folder.path(), json!({ "chunk_bytes": 4096 }));
    assert!(next(&mut source).await.is_some());
    timeout(Duration::from_secs(1), source.stop()).await.expect("stops within a second");
    assert!(next(&mut source).await.is_none());
}
