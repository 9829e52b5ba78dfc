use std::path::Path;

use super::*;
use crate::faulty::Disk;
use crate::writer::Ended;

fn record(n: u64) -> Record {
    Record {
        feed: "gauges".into(),
        labels: Labels::new(),
        received_at_us: 0,
        retained: false,
        payload: Bytes::from(format!("{n:01000}")),
    }
}

/// Appends one record and waits until it is on disk, so that it has a block of its own.
async fn keep(journal: &Journal, n: u64) {
    let seq = journal.append(record(n)).await.unwrap();
    journal.synced().wait_for(|synced| *synced >= seq).await.unwrap();
}

async fn written(path: &Path, records: u64) {
    let journal = Journal::open(path, Limits::default()).unwrap();
    for n in 1..=records {
        keep(&journal, n).await;
    }
}

fn seqs(journal: &Journal, from: u64) -> Vec<u64> {
    journal.read(from, usize::MAX).unwrap().iter().map(|entry| entry.seq).collect()
}

#[tokio::test]
async fn the_bytes_kept_are_counted_as_the_store_counts_them() {
    let disk = Disk::new();
    let journal = Journal::open_faulty(&disk, Limits::default()).unwrap();
    for n in 1..=5 {
        keep(&journal, n).await;
    }
    journal.release(3).await.unwrap();
    keep(&journal, 6).await;
    let counted = journal.stored_bytes();
    journal.close();
    assert_eq!(Journal::open_faulty(&disk, Limits::default()).unwrap().stored_bytes(), counted);
}

#[tokio::test]
async fn bytes_nobody_counted_are_found_when_the_store_is_opened_again() {
    let disk = Disk::new();
    let journal = Journal::open_faulty(&disk, Limits::default()).unwrap();
    keep(&journal, 1).await;
    // As after a release that reached the disk and was answered with an error.
    journal.shared.stored_bytes.fetch_add(1 << 20, Ordering::AcqRel);
    disk.fail(true);
    let seq = journal.append(record(2)).await.unwrap();
    journal.failure().wait_for(Option::is_some).await.unwrap();
    disk.fail(false);
    journal.synced().wait_for(|synced| *synced >= seq).await.unwrap();
    let counted = journal.stored_bytes();
    journal.close();
    assert_eq!(Journal::open_faulty(&disk, Limits::default()).unwrap().stored_bytes(), counted);
}

#[tokio::test]
async fn a_damaged_block_is_kept_aside_and_holds_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.redb");
    written(&path, 3).await;
    let db = redb::Database::create(&path).unwrap();
    let txn = db.begin_write().unwrap();
    let blocks = redb::TableDefinition::<u64, &[u8]>::new("blocks");
    txn.open_table(blocks).unwrap().insert(2_u64, b"no block".as_slice()).unwrap();
    txn.commit().unwrap();
    drop(db);

    let journal = Journal::open(&path, Limits::default()).unwrap();
    assert!(journal.set_aside().is_none(), "only the block is damaged");
    assert_eq!((seqs(&journal, 1), seqs(&journal, 2)), (vec![1, 3], vec![3]));
    assert_eq!(std::fs::read(dir.path().join("journal.redb.damaged-block-2")).unwrap(), b"no block");
}

#[tokio::test]
async fn a_flipped_bit_in_any_page_of_a_closed_journal_is_found_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.redb");
    written(&path, 8).await;
    let whole = std::fs::read(&path).unwrap();
    let is_used = |page: &usize| whole[*page..].iter().take(4_096).any(|byte| *byte != 0);
    for page in (4_096..whole.len()).step_by(4_096).filter(is_used) {
        let mut bytes = whole.clone();
        bytes[page + 64] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let journal = Journal::open(&path, Limits::default()).unwrap_or_else(|e| panic!("page at {page}: {e}"));
        // Whole, if the page was an unused one; else empty, and what was there is set aside.
        let expected: Vec<u64> = if journal.set_aside().is_some() { Vec::new() } else { (1..=8).collect() };
        assert_eq!(seqs(&journal, 1), expected, "page at {page}");
    }
}

#[tokio::test]
async fn when_the_writer_dies_it_is_told_and_nobody_waits_for_it() {
    let journal = Journal::open_faulty(&Disk::new(), Limits::default()).unwrap();
    let shared = journal.shared.clone();
    let died: std::thread::JoinHandle<()> = std::thread::spawn(move || {
        let _ended = Ended(shared);
        panic!("on purpose");
    });
    assert!(died.join().is_err());
    assert!(journal.failure().borrow().is_some());
    assert!(matches!(journal.append(record(1)).await, Err(JournalError::Closed)));
}

#[tokio::test]
async fn a_look_at_a_journal_tells_its_state_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.redb");
    let journal = Journal::open(&path, Limits::default()).unwrap();
    keep(&journal, 1).await;
    assert_eq!(look(&path).unwrap(), Look::InUse);
    let copy = dir.path().join("copy.redb");
    std::fs::copy(&path, &copy).unwrap();
    assert_eq!(look(&copy).unwrap(), Look::NotClosed, "as after a power cut");
    let (id, stored_bytes) = (journal.id().to_owned(), journal.stored_bytes());
    journal.close();

    let before = std::fs::read(&path).unwrap();
    assert_eq!(look(&path).unwrap(), Look::AtRest { id, synced: 1, stored_bytes });
    assert!(std::fs::read(&path).unwrap() == before, "it was changed");
    std::fs::write(&path, vec![7; before.len()]).unwrap();
    assert!(matches!(look(&path).unwrap(), Look::Damaged(_)));
    assert!(look(&dir.path().join("absent.redb")).is_err());
}

#[test]
fn an_error_is_told_with_its_causes_in_one_line() {
    let source = std::io::Error::other("the disk is full");
    let error = JournalError::Io { path: PathBuf::from("a.redb"), source };
    assert_eq!(datasjo_table::causes(&error), "use the journal a.redb: the disk is full");
}
