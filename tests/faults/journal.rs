//! The journal's promises, with its disk cut off, full, failing and damaged.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use datasjo_journal::faulty::Disk;
use datasjo_journal::{Entry, Journal, Limits, Record};
use datasjo_table::Labels;
use futures::FutureExt;
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use tokio::time::timeout;

use crate::support::engine::GUARD;

/// The `n`-th record: the same number gives the same bytes, a few hundred of them that do not compress.
fn record(n: u64) -> Record {
    let mut random = SmallRng::seed_from_u64(n);
    let mut payload = vec![0; random.random_range(0..600)];
    random.fill_bytes(&mut payload);
    Record {
        feed: Arc::from("meters"),
        labels: Labels::new().with(Labels::TOPIC, format!("town/{n}")),
        received_at_us: i64::try_from(n).unwrap(),
        retained: n.is_multiple_of(7),
        payload: Bytes::from(payload),
    }
}

/// A record that takes the least room in the queue.
fn small(n: u64) -> Record {
    Record { payload: Bytes::from(n.to_string()), ..record(n) }
}

async fn synced(journal: &Journal, seq: u64) {
    let mut synced = journal.synced();
    timeout(GUARD, synced.wait_for(|s| *s >= seq)).await.expect("it is never synced").unwrap();
}

/// All there is, after making sure that it begins at `first`, has no hole and holds what was appended.
fn assert_whole(journal: &Journal, first: u64) -> u64 {
    let entries = journal.read(first, usize::MAX).unwrap();
    for (entry, seq) in entries.iter().zip(first..) {
        assert_eq!(*entry, Entry { seq, record: record(seq).into() });
    }
    first - 1 + entries.len() as u64
}

/// What a power cut leaves of the writes that were not synced: nothing, everything, or any part of any of them.
fn what_is_left(seed: u64) -> impl FnMut(usize) -> Option<usize> {
    let mut random = SmallRng::seed_from_u64(seed);
    move |bytes| match (seed % 4, random.random_range(0..3)) {
        (0, _) => None,
        (1, _) | (_, 0) => Some(bytes),
        (_, 1) => None,
        _ => Some(random.random_range(0..=bytes)),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn journal_keeps_what_is_synced_through_a_power_cut_at_any_moment() {
    for seed in 0..40 {
        let mut random = SmallRng::seed_from_u64(seed);
        let disk = Disk::new();
        let journal = Journal::open_faulty(&disk, Limits::default()).unwrap();
        let mut cuts = Vec::new();
        for n in 1..=200 {
            assert_eq!(journal.append(record(n)).await.unwrap(), n);
            // The writer is at work meanwhile, so these moments lie anywhere in its commits.
            if random.random_bool(0.06) {
                let acknowledged = *journal.synced().borrow();
                cuts.push((acknowledged, n, disk.after_power_cut(what_is_left(random.random()))));
            }
            if random.random_bool(0.1) {
                synced(&journal, n).await;
            }
        }
        for (acknowledged, sent, found) in cuts {
            assert_survives(seed, acknowledged, sent, found).await;
        }
    }
}

/// Opens what a power cut left, three times over with another cut while it opens and writes.
async fn assert_survives(seed: u64, mut acknowledged: u64, mut sent: u64, mut found: Disk) {
    for again in 0..3 {
        let journal = Journal::open_faulty(&found, Limits::default()).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let last = assert_whole(&journal, 1);
        assert!((acknowledged..=sent).contains(&last), "seed {seed}: {last} are there, {acknowledged} were acknowledged");
        assert_eq!(*journal.synced().borrow(), last, "seed {seed}");
        assert_eq!(journal.append(record(last + 1)).await.unwrap(), last + 1, "seed {seed}: a number was given twice");
        (acknowledged, sent) = (last, last + 1);
        found = found.after_power_cut(what_is_left(seed + again));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn journal_never_lets_go_of_what_was_not_released() {
    for seed in 0..15 {
        let mut random = SmallRng::seed_from_u64(seed);
        let disk = Disk::new();
        // Nothing is kept in memory, so that reading shows what is stored.
        let limits = Limits { recent_bytes: 0, ..Limits::default() };
        let journal = Journal::open_faulty(&disk, limits.clone()).unwrap();
        let mut released = 0;
        for n in 1..=200 {
            journal.append(record(n)).await.unwrap();
            if random.random_bool(0.2) {
                synced(&journal, n).await;
                released = random.random_range(released..=n);
                journal.release(released).await.unwrap();
                let found = disk.after_power_cut(what_is_left(random.random()));
                let after = Journal::open_faulty(&found, limits.clone()).unwrap();
                assert_eq!(assert_whole(&after, released + 1), n, "seed {seed}: released up to {released}");
            }
        }
        synced(&journal, 200).await;
        assert_eq!(assert_whole(&journal, released + 1), 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn journal_on_a_full_disk_makes_senders_wait_and_acknowledges_nothing() {
    let disk = Disk::new();
    // Room in the queue for sixteen small records.
    let journal = Journal::open_faulty(&disk, Limits { queue_bytes: 16 * 256, ..Limits::default() }).unwrap();
    journal.append(small(1)).await.unwrap();
    synced(&journal, 1).await;

    disk.limit(Some(0));
    for n in 2..=17 {
        assert_eq!(journal.append(small(n)).await.unwrap(), n);
    }
    assert!(journal.append(small(18)).now_or_never().is_none(), "the queue has a bound");
    let mut failure = journal.failure();
    timeout(GUARD, failure.wait_for(Option::is_some)).await.expect("nobody is told").unwrap();
    assert_eq!(*journal.synced().borrow(), 1);

    disk.limit(None);
    synced(&journal, 17).await;
    timeout(GUARD, failure.wait_for(Option::is_none)).await.expect("it does not say that all is well").unwrap();
    // The sender that gave up waiting took no number.
    assert_eq!(journal.append(small(18)).await.unwrap(), 18);
    synced(&journal, 18).await;
    let payloads: Vec<Bytes> = journal.read(1, usize::MAX).unwrap().into_iter().map(|e| e.record.payload.clone()).collect();
    assert_eq!(payloads, (1..=18).map(|n: u64| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn journal_whose_disk_fills_up_stores_the_rest_when_there_is_room_again() {
    let disk = Disk::new();
    let journal = Journal::open_faulty(&disk, Limits::default()).unwrap();
    disk.limit(Some(128 << 10));
    for n in 1..=1_000 {
        journal.append(record(n)).await.unwrap();
    }
    timeout(GUARD, journal.failure().wait_for(Option::is_some)).await.expect("the disk is large enough").unwrap();
    let acknowledged = *journal.synced().borrow();
    assert!(acknowledged < 1_000);
    let found = disk.after_power_cut(what_is_left(3));
    assert!(assert_whole(&Journal::open_faulty(&found, Limits::default()).unwrap(), 1) >= acknowledged);

    disk.limit(None);
    synced(&journal, 1_000).await;
    assert_eq!(assert_whole(&journal, 1), 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn journal_acknowledges_nothing_while_syncing_fails_and_stores_it_once_afterwards() {
    let disk = Disk::new();
    let journal = Journal::open_faulty(&disk, Limits::default()).unwrap();
    journal.append(record(1)).await.unwrap();
    synced(&journal, 1).await;

    disk.fail(true);
    journal.append(record(2)).await.unwrap();
    timeout(GUARD, journal.failure().wait_for(Option::is_some)).await.expect("nobody is told").unwrap();
    assert_eq!(*journal.synced().borrow(), 1);
    let found = disk.after_power_cut(what_is_left(0));
    assert_eq!(assert_whole(&Journal::open_faulty(&found, Limits::default()).unwrap(), 1), 1);

    disk.fail(false);
    synced(&journal, 2).await;
    assert_eq!(assert_whole(&journal, 1), 2);
    journal.close();
    drop(journal);
    assert_eq!(assert_whole(&Journal::open_faulty(&disk, Limits::default()).unwrap(), 1), 2);
}

/// What a journal file may be found to hold instead.
fn damages(whole: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut random = SmallRng::seed_from_u64(1);
    let mut garbage = vec![0; whole.len()];
    random.fill_bytes(&mut garbage);
    let head = 4_096;
    vec![
        ("cut in half", whole[..whole.len() / 2].to_vec()),
        ("cut to a few bytes", whole[..100].to_vec()),
        ("its last page is gone", whole[..whole.len() - head].to_vec()),
        ("garbage", garbage.clone()),
        ("zeros", vec![0; whole.len()]),
        ("garbage at its head", [&garbage[..head], &whole[head..]].concat()),
        ("garbage after its head", [&whole[..head], &garbage[head..]].concat()),
        ("zeros after its head", [&whole[..head], vec![0; whole.len() - head].as_slice()].concat()),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn journal_file_that_is_damaged_is_set_aside_as_it_is_and_a_new_one_begun() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.redb");
    let id = write_journal(&path).await;
    let whole = std::fs::read(&path).unwrap();
    let mut set_aside = Vec::new();
    for (damage, bytes) in damages(&whole) {
        std::fs::write(&path, &bytes).unwrap();
        let journal = Journal::open(&path, Limits::default()).unwrap_or_else(|e| panic!("{damage}: {e}"));
        let aside = journal.set_aside().unwrap_or_else(|| panic!("{damage}: nobody is told")).clone();
        assert!(!aside.reason.is_empty(), "{damage}");
        assert_eq!(std::fs::read(&aside.path).unwrap(), bytes, "{damage}: the evidence was changed");
        assert!(!set_aside.contains(&aside.path), "{damage}: evidence was replaced");
        set_aside.push(aside.path);
        assert_ne!(journal.id(), id, "{damage}: the new journal goes by the name of the old one");
        assert_eq!(journal.append(record(1)).await.unwrap(), 1, "{damage}");
        synced(&journal, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn journal_file_of_no_bytes_is_a_new_journal() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.redb");
    let id = write_journal(&path).await;
    std::fs::write(&path, b"").unwrap();
    let journal = Journal::open(&path, Limits::default()).unwrap();
    assert_ne!(journal.id(), id);
    assert_eq!(journal.append(record(1)).await.unwrap(), 1);
    synced(&journal, 1).await;
}

/// Writes a journal of several pages, closes it in order, and tells its name.
async fn write_journal(path: &Path) -> String {
    let journal = Journal::open(path, Limits::default()).unwrap();
    for n in 1..=400 {
        journal.append(record(n)).await.unwrap();
    }
    synced(&journal, 400).await;
    journal.id().to_owned()
}
