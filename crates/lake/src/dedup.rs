//! Which rows are new, which are duplicates, which are revisions; decided before a row becomes visible or is written.
//!
//! A reading later than everything its series has shown is new without a look: it is only noted, one after the other. Rows
//! at or before that watermark are looked up, among the rows not committed yet and in the lake, by whole hours, which are
//! kept for a while because late rows come together. So what this remembers is a function of what the lake and the hot rows
//! hold, never of attempts.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_64;

use crate::print::Print;

/// Keys kept of hours read from the lake, about 60 bytes each: the bound on memory of one table's look-back.
const REMEMBERED_KEYS: usize = 1_000_000;

/// Keys are hashes already: their low bits do.
#[derive(Default)]
pub(crate) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }

    /// Numbers of hours are neighbours: Fibonacci hashing (Knuth, The Art of Computer Programming 3, 6.4) spreads them.
    fn write_i64(&mut self, number: i64) {
        self.0 = number.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

pub(crate) type Map<K, V> = HashMap<K, V, BuildHasherDefault<Hashed>>;
type Set<K> = HashSet<K, BuildHasherDefault<Hashed>>;

/// The flush of rows that are at rest.
const AT_REST: u32 = 0;

/// What is known of a key: a print of its newest values, how often it was revised, and the flush that commits it.
#[derive(Clone, Copy, Debug)]
struct Known {
    values: u64,
    revision: i32,
    flush: u32,
}

/// A row that was new without a look.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    key: u128,
    values: u64,
    flush: u32,
}

/// The verdict on a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// First of its key.
    New,
    /// Same key, other values: the n-th revision.
    Revision(i32),
    /// Same key, same values.
    Duplicate,
    /// It would have to be looked up where the lake cannot be read.
    Unreadable,
}

/// What is known of the readings of one hour.
#[derive(Default)]
struct Hour {
    /// True if every key that the lake holds in this hour is known.
    learnt: bool,
    keys: Map<u128, Known>,
    /// Noted, not entered into `keys` yet; in the order of their flushes. Most are committed before anybody asks.
    ahead: Vec<Ahead>,
    used: u64,
}

impl Hour {
    fn enter_ahead(&mut self) {
        for Ahead { key, values, flush } in std::mem::take(&mut self.ahead) {
            self.keys.insert(key, Known { values, revision: 0, flush });
        }
    }

    fn len(&self) -> usize {
        self.keys.len() + self.ahead.len()
    }

    /// Forgets what the lake holds since `flush`, unless the hour is to be known as a whole. False if nothing is left.
    fn forget_committed(&mut self, flush: u32) -> bool {
        if self.learnt {
            return true;
        }
        let committed = self.ahead.partition_point(|row| row.flush <= flush);
        self.ahead.drain(..committed);
        self.keys.retain(|_, known| known.flush > flush);
        self.len() > 0
    }

    /// Judges a row that is not ahead of its series.
    fn judge(&mut self, print: &Print, flush: u32) -> Verdict {
        self.enter_ahead();
        match self.keys.entry(print.key) {
            Entry::Vacant(unknown) => {
                unknown.insert(Known { values: print.values, revision: 0, flush });
                Verdict::New
            }
            Entry::Occupied(known) if known.get().values == print.values => Verdict::Duplicate,
            Entry::Occupied(mut known) => {
                let revision = known.get().revision + 1;
                known.insert(Known { values: print.values, revision, flush });
                Verdict::Revision(revision)
            }
        }
    }
}

/// What the lake holds in some hours, as it is read. While all of it fits the hours are learnt as a whole; then only the
/// keys that were asked for are kept.
pub(crate) struct Lesson<'p> {
    asked: &'p [Vec<Print>],
    only: Option<Set<u128>>,
    hours: Map<i64, Map<u128, Known>>,
    keys: usize,
    most_keys: usize,
}

impl Lesson<'_> {
    /// Takes rows of the lake with their revisions; those of other hours are passed over.
    pub fn take(&mut self, rows: impl IntoIterator<Item = (Print, i32)>) {
        for (print, revision) in rows {
            let Some(keys) = self.hours.get_mut(&print.hour()) else { continue };
            if self.only.as_ref().is_some_and(|only| !only.contains(&print.key)) {
                continue;
            }
            let read = Known { values: print.values, revision, flush: AT_REST };
            match keys.entry(print.key) {
                Entry::Vacant(unknown) => {
                    unknown.insert(read);
                    self.keys += 1;
                }
                Entry::Occupied(mut known) if known.get().revision < revision => {
                    known.insert(read);
                }
                Entry::Occupied(_) => {}
            }
        }
        if self.only.is_none() && self.keys > self.most_keys {
            self.keep_what_was_asked();
        }
    }

    fn keep_what_was_asked(&mut self) {
        let only: Set<u128> = self.asked.iter().flatten().map(|print| print.key).collect();
        for keys in self.hours.values_mut() {
            keys.retain(|key, _| only.contains(key));
            keys.shrink_to_fit();
        }
        self.only = Some(only);
    }
}

/// What the lake and the hot rows of one table hold, as far as it must be known.
#[derive(Default)]
pub(crate) struct KeyIndex {
    watermarks: Map<u64, i64>,
    /// No row of any series that is absent from `watermarks` is later than this.
    floor_us: i64,
    hours: Map<i64, Hour>,
    clock: u64,
    closed: u32,
    committed: u32,
}

impl KeyIndex {
    /// From the latest `observed_at` of each series in the lake since `floor_us`; before that nothing is assumed.
    pub fn new(latest: impl IntoIterator<Item = (u64, i64)>, floor_us: i64) -> Self {
        Self { watermarks: latest.into_iter().collect(), floor_us, ..Self::default() }
    }

    /// The hours of the lake that must be learnt before these rows can be judged. Those known already count as just used.
    pub fn unknown_hours<'p>(&mut self, prints: impl IntoIterator<Item = &'p Print>) -> BTreeSet<i64> {
        self.clock += 1;
        let mut ahead: Map<u64, i64> = Map::default();
        let mut unknown = BTreeSet::new();
        for print in prints {
            let newest =
                ahead.entry(print.series).or_insert_with(|| self.watermarks.get(&print.series).copied().unwrap_or(self.floor_us));
            if print.observed_us > *newest {
                *newest = print.observed_us;
                continue;
            }
            match self.hours.get_mut(&print.hour()) {
                Some(hour) if hour.learnt => hour.used = self.clock,
                _ => {
                    unknown.insert(print.hour());
                }
            }
        }
        unknown
    }

    /// An empty lesson about `hours`, which `asked` needs.
    pub fn lesson<'p>(&self, hours: &BTreeSet<i64>, asked: &'p [Vec<Print>]) -> Lesson<'p> {
        let in_use = self.hours.values().filter(|hour| hour.learnt && hour.used == self.clock);
        let most_keys = REMEMBERED_KEYS.saturating_sub(in_use.map(Hour::len).sum());
        let hours = hours.iter().map(|hour| (*hour, Map::default())).collect();
        Lesson { asked, only: None, hours, keys: 0, most_keys }
    }

    /// Learns what the lake holds. Hours without rows are learnt too.
    pub fn learn(&mut self, lesson: Lesson<'_>) {
        for (number, at_rest) in lesson.hours {
            let hour = self.hours.entry(number).or_default();
            for (key, known) in at_rest {
                // What is known already is in flight, and not older.
                hour.keys.entry(key).or_insert(known);
            }
            hour.learnt |= lesson.only.is_none();
            hour.used = self.clock;
        }
        self.forget_long_unused();
    }

    /// True if the row is not later than its series has come, so that its hour must be known to judge it.
    pub fn is_late(&self, print: &Print) -> bool {
        print.observed_us <= self.watermarks.get(&print.series).copied().unwrap_or(self.floor_us)
    }

    /// Judges one row and remembers it. Its hour must be known if the row is late.
    pub fn judge(&mut self, print: &Print) -> Verdict {
        let flush = self.closed + 1;
        let newest = self.watermarks.entry(print.series).or_insert(self.floor_us);
        let hour = self.hours.entry(print.hour()).or_default();
        if print.observed_us <= *newest {
            return hour.judge(print, flush);
        }
        *newest = print.observed_us;
        hour.ahead.push(Ahead { key: print.key, values: print.values, flush });
        Verdict::New
    }

    /// Rows judged from now on belong to the next flush. Returns the number of the one that is closed; the first is 1.
    pub fn close_flush(&mut self) -> u32 {
        self.closed += 1;
        self.closed
    }

    /// The rows of `flush` are committed: the lake remembers them now. Old hours are forgotten to stay in bounds.
    pub fn committed(&mut self, flush: u32) {
        self.committed = flush;
        self.hours.retain(|_, hour| hour.forget_committed(flush));
        self.forget_long_unused();
    }

    /// Down to three quarters of the bound, so that it is not done again at once. Hours in use stay.
    fn forget_long_unused(&mut self) {
        let of_hour = |(number, hour): (&i64, &Hour)| (hour.used, *number, hour.len());
        let mut by_use: Vec<_> = self.hours.iter().filter(|(_, hour)| hour.learnt).map(of_hour).collect();
        let mut remembered: usize = by_use.iter().map(|(_, _, keys)| keys).sum();
        if remembered <= REMEMBERED_KEYS {
            return;
        }
        by_use.sort_unstable();
        for (used, number, keys) in by_use {
            if used == self.clock || remembered <= REMEMBERED_KEYS / 4 * 3 {
                break;
            }
            remembered -= keys;
            if let Entry::Occupied(mut hour) = self.hours.entry(number) {
                hour.get_mut().learnt = false;
                if !hour.get_mut().forget_committed(self.committed) {
                    hour.remove();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::print::HOUR_US;

    /// A lake and its hot rows, as plain lists: what the index must agree with.
    #[derive(Default)]
    struct Model {
        committed: Vec<(Print, i32)>,
        flushing: Vec<(Print, i32)>,
        hot: Vec<(Print, i32)>,
    }

    impl Model {
        fn verdict(&self, print: &Print) -> Verdict {
            let all = self.committed.iter().chain(&self.flushing).chain(&self.hot);
            match all.filter(|(p, _)| p.key == print.key).max_by_key(|(_, revision)| *revision) {
                None => Verdict::New,
                Some((newest, _)) if newest.values == print.values => Verdict::Duplicate,
                Some((_, revision)) => Verdict::Revision(revision + 1),
            }
        }

        /// What an index opened now is told: each series' latest reading of the newest 40 hours.
        fn opened(&self) -> KeyIndex {
            let newest = self.committed.iter().map(|(p, _)| p.hour()).max();
            let Some(newest) = newest else { return KeyIndex::new([], i64::MIN) };
            let floor_us = (newest - 40) * HOUR_US - 1;
            let mut latest = BTreeMap::new();
            for (print, _) in self.committed.iter().filter(|(p, _)| p.observed_us > floor_us) {
                let at = latest.entry(print.series).or_insert(print.observed_us);
                *at = (*at).max(print.observed_us);
            }
            KeyIndex::new(latest, floor_us)
        }
    }

    fn reading(random: &mut StdRng, around_hour: i64) -> Print {
        let series = random.random_range(0..4);
        let observed_us = (around_hour + random.random_range(-60..=1)) * HOUR_US + random.random_range(0..3);
        let key = u128::from(series) << 64 | u128::from(observed_us.unsigned_abs());
        Print { series, key, values: random.random_range(0..3), observed_us }
    }

    /// Tells the index what it must know to judge `asked`, in two batches, with room for `most_keys`.
    fn learn(index: &mut KeyIndex, asked: &[Vec<Print>], model: &Model, most_keys: usize) {
        let unknown = index.unknown_hours(asked.iter().flatten());
        let mut lesson = Lesson { most_keys, ..index.lesson(&unknown, asked) };
        let half = model.committed.len() / 2;
        lesson.take(model.committed[..half].iter().copied());
        lesson.take(model.committed[half..].iter().copied());
        index.learn(lesson);
    }

    fn agrees_with_the_model(seed: u64) {
        let most_keys = if seed.is_multiple_of(2) { REMEMBERED_KEYS } else { 20 };
        let mut random = StdRng::seed_from_u64(seed);
        let (mut model, mut index, mut closed) = (Model::default(), KeyIndex::new([], i64::MIN), None);
        for step in 0..400 {
            match random.random_range(0..100) {
                0..80 => {
                    let prints: Vec<Print> =
                        (0..random.random_range(1..6)).map(|_| reading(&mut random, 1_000 + step / 4)).collect();
                    let prints = [prints];
                    learn(&mut index, &prints, &model, most_keys);
                    for print in prints.into_iter().flatten() {
                        let expected = model.verdict(&print);
                        assert_eq!(index.judge(&print), expected, "seed {seed}, step {step}, {print:?}");
                        match expected {
                            Verdict::New => model.hot.push((print, 0)),
                            Verdict::Revision(n) => model.hot.push((print, n)),
                            Verdict::Duplicate | Verdict::Unreadable => {}
                        }
                    }
                }
                80..88 if closed.is_none() => {
                    closed = Some(index.close_flush());
                    model.flushing = std::mem::take(&mut model.hot);
                }
                80..96 => {
                    if let Some(flush) = closed.take() {
                        model.committed.append(&mut model.flushing);
                        index.committed(flush);
                    }
                }
                // A crash: what was hot comes again from the journal, in order.
                _ => {
                    let again: Vec<_> = model.flushing.drain(..).chain(std::mem::take(&mut model.hot)).collect();
                    index = model.opened();
                    closed = None;
                    for (print, _) in again {
                        learn(&mut index, &[vec![print]], &model, most_keys);
                        let expected = model.verdict(&print);
                        assert_eq!(index.judge(&print), expected, "seed {seed}, step {step}, after a crash, {print:?}");
                        match expected {
                            Verdict::New => model.hot.push((print, 0)),
                            Verdict::Revision(n) => model.hot.push((print, n)),
                            Verdict::Duplicate | Verdict::Unreadable => {}
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn every_verdict_is_that_of_a_full_search() {
        (0..200).for_each(agrees_with_the_model);
    }

    #[test]
    fn rows_that_are_ahead_are_noted_and_forgotten_with_their_commit() {
        let mut index = KeyIndex::new([], i64::MIN);
        let print = |n: i64| Print { series: 1, key: n.unsigned_abs().into(), values: 0, observed_us: n * HOUR_US / 60 };
        for n in 1..=120 {
            assert_eq!(index.judge(&print(n)), Verdict::New);
        }
        assert!(index.hours.values().all(|hour| hour.keys.is_empty()), "nobody has asked for them");
        let closed = index.close_flush();
        assert_eq!(index.judge(&print(121)), Verdict::New);
        index.committed(closed);
        assert_eq!(index.hours.values().map(Hour::len).sum::<usize>(), 1);
        assert_eq!(index.judge(&print(121)), Verdict::Duplicate);
    }

    #[test]
    fn a_lesson_that_is_too_large_keeps_only_what_was_asked() {
        let mut index = KeyIndex::new([], i64::MAX);
        let print = |n: u32| Print { series: 1, key: n.into(), values: 7, observed_us: n.into() };
        let asked = [vec![print(3), print(900)]];
        let unknown = index.unknown_hours(asked.iter().flatten());
        let mut lesson = Lesson { most_keys: 100, ..index.lesson(&unknown, &asked) };
        for batch in 0..5 {
            lesson.take((0..100).map(|n| (print(batch * 100 + n), 0)));
        }
        index.learn(lesson);
        assert_eq!(index.hours.values().map(Hour::len).sum::<usize>(), 1);
        assert_eq!([index.judge(&print(3)), index.judge(&print(900))], [Verdict::Duplicate, Verdict::New]);
        assert_eq!(index.unknown_hours(&asked[0]), unknown, "the hour was not learnt as a whole");
    }
}
