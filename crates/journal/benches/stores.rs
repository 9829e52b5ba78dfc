//! Which store carries the journal: redb as this crate uses it, fjall as its documentation shows it (and with values kept
//! apart from keys), and a plain file of appended blocks as the floor that the disk sets. The plain file is no candidate: it
//! has no cursors, no checksums and no repair.
//!
//! `cargo bench -p datasjo-journal` prints the tables of `README.md`. All contenders get the same blocks, packed with LZ4
//! beforehand, and every block is synced before the next. Rounds take turns, and the median of three is shown.

#![allow(clippy::print_stdout, reason = "a bench talks to a terminal")]

use std::collections::VecDeque;
use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fjall::{Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use redb::{ReadableDatabase, ReadableTable, TableDefinition};
use tempfile::TempDir;

/// As in `src/store.rs`; fjall gets the same.
const CACHE_BYTES: usize = 16 << 20;
/// A sensor message with its topic.
const RECORD_BYTES: usize = 250;
const GROUPS: [usize; 3] = [1, 64, 1024];
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(3);
/// Payload in the store that is opened again: a day of a town in which nothing could be committed.
const FILL_BYTES: usize = 200_000_000;
/// Blocks kept in the steady run, as by a lake that commits every few seconds.
const KEPT_BLOCKS: u64 = 200;
const SEGMENT_BYTES: u64 = 16 << 20;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A log of blocks, numbered from 0 without holes.
trait Log {
    /// Appends block `number`; it survives a power cut when this returns.
    fn append(&mut self, number: u64, block: &[u8]) -> Outcome<()>;
    /// Drops the blocks before `keep_from`; all before `from` are gone already.
    fn release(&mut self, from: u64, keep_from: u64) -> Outcome<()>;
    /// Number of the newest block.
    fn newest(&self) -> Outcome<Option<u64>>;
}

struct Contender {
    name: &'static str,
    open: fn(&Path) -> Outcome<Box<dyn Log>>,
}

const CONTENDERS: [Contender; 4] = [
    Contender { name: "redb", open: open_redb },
    Contender { name: "fjall", open: open_fjall },
    Contender { name: "fjall, values apart", open: open_fjall_apart },
    Contender { name: "plain file", open: open_plain },
];

const BLOCKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("blocks");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

struct Redb(redb::Database);

fn open_redb(dir: &Path) -> Outcome<Box<dyn Log>> {
    let db = redb::Builder::new().set_cache_size(CACHE_BYTES).create(dir.join("journal.redb"))?;
    let txn = db.begin_write()?;
    txn.open_table(BLOCKS)?;
    txn.open_table(META)?;
    txn.commit()?;
    Ok(Box::new(Redb(db)))
}

impl Log for Redb {
    fn append(&mut self, number: u64, block: &[u8]) -> Outcome<()> {
        let txn = self.0.begin_write()?;
        txn.open_table(BLOCKS)?.insert(number, block)?;
        txn.open_table(META)?.insert("next_seq", number + 1)?;
        txn.commit()?;
        Ok(())
    }

    fn release(&mut self, _from: u64, keep_from: u64) -> Outcome<()> {
        let txn = self.0.begin_write()?;
        txn.open_table(BLOCKS)?.retain_in(..keep_from, |_, _| false)?;
        txn.commit()?;
        Ok(())
    }

    fn newest(&self) -> Outcome<Option<u64>> {
        let txn = self.0.begin_read()?;
        let blocks = txn.open_table(BLOCKS)?;
        let newest = blocks.last()?.map(|(number, _)| number.value());
        Ok(newest)
    }
}

struct Fjall {
    db: fjall::Database,
    blocks: Keyspace,
    meta: Keyspace,
}

fn open_fjall(dir: &Path) -> Outcome<Box<dyn Log>> {
    fjall_with(dir, KeyspaceCreateOptions::default())
}

fn open_fjall_apart(dir: &Path) -> Outcome<Box<dyn Log>> {
    fjall_with(dir, KeyspaceCreateOptions::default().with_kv_separation(Some(KvSeparationOptions::default())))
}

fn fjall_with(dir: &Path, options: KeyspaceCreateOptions) -> Outcome<Box<dyn Log>> {
    let db = fjall::Database::builder(dir).cache_size(CACHE_BYTES as u64).open()?;
    let blocks = db.keyspace("blocks", || options)?;
    let meta = db.keyspace("meta", KeyspaceCreateOptions::default)?;
    Ok(Box::new(Fjall { db, blocks, meta }))
}

impl Log for Fjall {
    fn append(&mut self, number: u64, block: &[u8]) -> Outcome<()> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        batch.insert(&self.blocks, number.to_be_bytes(), block);
        batch.insert(&self.meta, "next_seq", (number + 1).to_be_bytes());
        batch.commit()?;
        Ok(())
    }

    fn release(&mut self, from: u64, keep_from: u64) -> Outcome<()> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        for number in from..keep_from {
            batch.remove(&self.blocks, number.to_be_bytes());
        }
        batch.commit()?;
        Ok(())
    }

    fn newest(&self) -> Outcome<Option<u64>> {
        let Some(newest) = self.blocks.last_key_value() else {
            return Ok(None);
        };
        let key = newest.key()?;
        Ok(Some(u64::from_be_bytes(<[u8; 8]>::try_from(&*key)?)))
    }
}

/// Files of about [`SEGMENT_BYTES`], each named for its first block; a block is its length and its bytes.
struct Plain {
    dir: PathBuf,
    segments: VecDeque<(u64, PathBuf)>,
    file: Option<File>,
    file_bytes: u64,
    newest: Option<u64>,
}

fn open_plain(dir: &Path) -> Outcome<Box<dyn Log>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir)? {
        paths.push(entry?.path());
    }
    paths.sort();
    let mut plain = Plain { dir: dir.to_owned(), segments: VecDeque::new(), file: None, file_bytes: 0, newest: None };
    for path in paths {
        let name = path.file_stem().and_then(|stem| stem.to_str()).ok_or("a segment without a name")?;
        let first: u64 = name.parse()?;
        let blocks = count_blocks(&fs::read(&path)?)?;
        plain.newest = (first + blocks).checked_sub(1);
        plain.segments.push_back((first, path));
    }
    Ok(Box::new(plain))
}

fn count_blocks(mut bytes: &[u8]) -> Outcome<u64> {
    let mut blocks = 0;
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        bytes = rest.get(u32::from_le_bytes(*length) as usize..).ok_or("a torn block")?;
        blocks += 1;
    }
    Ok(blocks)
}

impl Plain {
    fn begin_segment(&mut self, first: u64) -> Outcome<File> {
        let path = self.dir.join(format!("{first:020}.log"));
        let file = OpenOptions::new().create_new(true).append(true).open(&path)?;
        File::open(&self.dir)?.sync_all()?;
        self.segments.push_back((first, path));
        self.file_bytes = 0;
        Ok(file)
    }
}

impl Log for Plain {
    fn append(&mut self, number: u64, block: &[u8]) -> Outcome<()> {
        let mut file = match self.file.take() {
            Some(file) if self.file_bytes < SEGMENT_BYTES => file,
            _ => self.begin_segment(number)?,
        };
        let length = u32::try_from(block.len())?.to_le_bytes();
        file.write_all(&[length.as_slice(), block].concat())?;
        file.sync_data()?;
        self.file_bytes += 4 + block.len() as u64;
        self.file = Some(file);
        self.newest = Some(number);
        Ok(())
    }

    fn release(&mut self, _from: u64, keep_from: u64) -> Outcome<()> {
        while self.segments.get(1).is_some_and(|(next_first, _)| *next_first <= keep_from) {
            if let Some((_, path)) = self.segments.pop_front() {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn newest(&self) -> Outcome<Option<u64>> {
        Ok(self.newest)
    }
}

/// Blocks of `records` records, different from each other, packed as the journal packs them.
fn blocks(records: usize) -> Vec<Vec<u8>> {
    let mut rng = SmallRng::seed_from_u64(records as u64);
    let different = (65_536 / records).clamp(16, 1024);
    let block = |rng: &mut SmallRng| {
        let plain: Vec<u8> = (0..records).flat_map(|_| record(rng)).collect();
        lz4_flex::compress_prepend_size(&plain)
    };
    (0..different).map(|_| block(&mut rng)).collect()
}

fn record(rng: &mut SmallRng) -> Vec<u8> {
    let (meter, zone, minute) = (rng.random_range(0..10_000), rng.random_range(0..40), rng.random_range(0..60));
    let (register, flow) = (rng.random_range(0.0..500_000.0), rng.random_range(0.0..20.0));
    let mut text = format!(
        r#"{{"meter_id":"m-{meter:05}","zone":"z-{zone:02}","time":"2026-03-14T11:{minute:02}:00Z","register_m3":{register:.3},"#
    );
    text.push_str(&format!(r#""flow_l_per_s":{flow:.3},"status":"OK","signature":""#));
    while text.len() < RECORD_BYTES - 2 {
        text.push(char::from_digit(rng.random_range(0..16), 16).unwrap_or('0'));
    }
    text.push_str("\"}");
    text.into_bytes()
}

/// Bytes this process handed to the system in write calls, and bytes of pages the system has to put on disk.
#[derive(Clone, Copy)]
struct Written {
    calls: u64,
    pages: u64,
}

impl Written {
    /// So far; zero where the system does not tell.
    fn now() -> Self {
        let text = fs::read_to_string("/proc/self/io").unwrap_or_default();
        let field = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0);
        Self { calls: field("wchar:"), pages: field("write_bytes:") }
    }

    fn since(self, before: Self) -> Self {
        Self { calls: self.calls - before.calls, pages: self.pages - before.pages }
    }
}

fn new_dir() -> Outcome<TempDir> {
    Ok(TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?)
}

/// Bytes a directory takes up on disk, holes left out.
fn disk_bytes(dir: &Path) -> Outcome<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let about = entry.metadata()?;
        sum += if about.is_dir() { disk_bytes(&entry.path())? } else { about.blocks() * 512 };
    }
    Ok(sum)
}

fn copy_dir(from: &Path, to: &Path) -> Outcome<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// One round of appending.
#[derive(Clone, Copy)]
struct Speed {
    groups_per_s: f64,
    calls_per_payload: f64,
    pages_per_payload: f64,
}

/// Appends for [`ROUND`], keeping the newest `kept` blocks; what the store still writes when it closes counts as written.
fn speed(contender: &Contender, records: usize, blocks: &[Vec<u8>], kept: u64) -> Outcome<(Speed, u64)> {
    let dir = new_dir()?;
    let before = Written::now();
    let mut log = (contender.open)(dir.path())?;
    let (mut groups, mut released, began) = (0, 0, Instant::now());
    while began.elapsed() < ROUND {
        log.append(groups, &blocks[groups as usize % blocks.len()])?;
        groups += 1;
        if groups.saturating_sub(released) >= kept.saturating_add(20) {
            log.release(released, groups - kept)?;
            released = groups - kept;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    drop(log);
    let written = Written::now().since(before);
    let payload_bytes = (groups as usize * records * RECORD_BYTES) as f64;
    let speed = Speed {
        groups_per_s: groups as f64 / seconds,
        calls_per_payload: written.calls as f64 / payload_bytes,
        pages_per_payload: written.pages as f64 / payload_bytes,
    };
    Ok((speed, disk_bytes(dir.path())?))
}

/// The median round of each contender by speed, with the disk it took up.
fn race(records: usize, kept: u64) -> Outcome<Vec<(Speed, u64)>> {
    let blocks = blocks(records);
    let mut rounds: Vec<Vec<(Speed, u64)>> = vec![Vec::new(); CONTENDERS.len()];
    for _ in 0..ROUNDS {
        for (contender, rounds) in CONTENDERS.iter().zip(&mut rounds) {
            rounds.push(speed(contender, records, &blocks, kept)?);
        }
    }
    for rounds in &mut rounds {
        rounds.sort_by(|a, b| a.0.groups_per_s.total_cmp(&b.0.groups_per_s));
    }
    Ok(rounds.into_iter().map(|rounds| rounds[ROUNDS / 2]).collect())
}

fn print_races() -> Outcome<()> {
    println!("\n| records in a synced group | store | groups/s | records/s | of redb | written per payload byte | in pages |");
    println!("|---|---|---|---|---|---|---|");
    for records in GROUPS {
        let results = race(records, u64::MAX)?;
        let redb = results.first().map_or(1.0, |r| r.0.groups_per_s);
        for (contender, (speed, _)) in CONTENDERS.iter().zip(results) {
            println!(
                "| {records} | {} | {:.0} | {:.0} | {:.2} | {:.2} | {:.2} |",
                contender.name,
                speed.groups_per_s,
                speed.groups_per_s * records as f64,
                speed.groups_per_s / redb,
                speed.calls_per_payload,
                speed.pages_per_payload,
            );
        }
    }
    Ok(())
}

fn print_steady() -> Outcome<()> {
    println!("\nGroups of 64, the newest {KEPT_BLOCKS} kept, older ones released while appending goes on.\n");
    println!("| store | groups/s | of redb | in pages | MB on disk at the end |");
    println!("|---|---|---|---|---|");
    let results = race(64, KEPT_BLOCKS)?;
    let redb = results.first().map_or(1.0, |r| r.0.groups_per_s);
    for (contender, (speed, disk)) in CONTENDERS.iter().zip(results) {
        println!(
            "| {} | {:.0} | {:.2} | {:.2} | {:.1} |",
            contender.name,
            speed.groups_per_s,
            speed.groups_per_s / redb,
            speed.pages_per_payload,
            disk as f64 / 1e6,
        );
    }
    Ok(())
}

/// How long opening takes until the newest block is known, in ms.
fn open_ms(contender: &Contender, dir: &Path, newest: u64) -> Outcome<f64> {
    let began = Instant::now();
    let log = (contender.open)(dir)?;
    let found = log.newest()?;
    let ms = began.elapsed().as_secs_f64() * 1e3;
    if found != Some(newest) {
        return Err(format!("{}: newest block {found:?} and not {newest}", contender.name).into());
    }
    Ok(ms)
}

fn print_reopening() -> Outcome<()> {
    println!("\n{} MB of payload in groups of 1024.\n", FILL_BYTES / 1_000_000);
    println!("| store | s to fill | MB on disk | ms to open | ms to open after a kill | ms to release nine tenths |");
    println!("|---|---|---|---|---|---|");
    let blocks = blocks(1024);
    let groups = (FILL_BYTES / (1024 * RECORD_BYTES)) as u64;
    for contender in &CONTENDERS {
        let (dir, killed) = (new_dir()?, new_dir()?);
        let mut log = (contender.open)(dir.path())?;
        let began = Instant::now();
        for number in 0..groups {
            log.append(number, &blocks[number as usize % blocks.len()])?;
        }
        let fill_s = began.elapsed().as_secs_f64();
        // The files of a store that is still open are what a kill leaves behind.
        copy_dir(dir.path(), killed.path())?;
        drop(log);
        let disk = disk_bytes(dir.path())?;
        let after_kill = open_ms(contender, killed.path(), groups - 1)?;
        let clean = open_ms(contender, dir.path(), groups - 1)?;
        let mut log = (contender.open)(dir.path())?;
        let began = Instant::now();
        log.release(0, groups * 9 / 10)?;
        let release = began.elapsed().as_secs_f64() * 1e3;
        println!("| {} | {fill_s:.1} | {:.0} | {clean:.0} | {after_kill:.0} | {release:.0} |", contender.name, disk as f64 / 1e6);
    }
    Ok(())
}

fn main() -> Outcome<()> {
    let packed: usize = blocks(1024).iter().map(Vec::len).sum();
    let plain = blocks(1024).len() * 1024 * RECORD_BYTES;
    println!("Records of {RECORD_BYTES} bytes; a block of 1024 packs to {:.0} %.", 100.0 * packed as f64 / plain as f64);
    print_races()?;
    print_steady()?;
    print_reopening()
}
