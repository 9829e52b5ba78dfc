//! The memory of a lot as text, kept as a column of the product and read back at the next run.
//!
//! Floats are written in the shortest form that reads back to the same bits, so a restart changes nothing. A line is a thing,
//! its fields are parted by tabs; tabs and line ends in names are written as spaces.

use std::fmt::Write;
use std::str::FromStr;

use crate::occupancy::{Anchor, Occupancy, Slot};
use crate::occupancy_gates::{Gate, Total, Totals};
use crate::occupancy_kalman::{Belief, STATES};

/// Form of the text; another form is not read, and the lot starts anew.
const FORM: &str = "occupancy-1";

impl Occupancy {
    /// The memory as text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::with_capacity(1024);
        text.push_str(FORM);
        let times = [self.newest_minute, self.view_at, self.refused_since, self.level_at, self.settled_at, self.basis_at];
        times.iter().for_each(|time| field(&mut text, time));
        text.push_str("\nbelief");
        self.belief.mean.iter().for_each(|mean| field(&mut text, mean));
        for i in 0..STATES {
            self.belief.covariance[i][i..].iter().for_each(|covariance| field(&mut text, covariance));
        }
        self.gates.iter().for_each(|gate| write_gate(&mut text, gate));
        self.totals.0.iter().for_each(|total| write_total(&mut text, total));
        text.push_str("\nanchors");
        for anchor in &self.anchors {
            field(&mut text, anchor.seen_at);
            field(&mut text, anchor.left);
        }
        text.push_str("\nminutes");
        for slot in &self.minutes {
            field(&mut text, slot.entries);
            field(&mut text, slot.exits);
        }
        text
    }

    /// The memory from its text; none if it is not whole or of another form.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut head = lines.next()?.split('\t');
        (head.next()? == FORM).then_some(())?;
        let mut lot = Self {
            belief: Belief::new([0.0; STATES], [0.0; STATES]),
            gates: Vec::new(),
            totals: Totals::default(),
            newest_minute: next(&mut head)?,
            minutes: Vec::new(),
            anchors: Vec::new(),
            view_at: next(&mut head)?,
            refused_since: next(&mut head)?,
            level_at: next(&mut head)?,
            settled_at: next(&mut head)?,
            basis_at: next(&mut head)?,
        };
        for line in lines {
            let mut fields = line.split('\t');
            match fields.next()? {
                "belief" => lot.belief = read_belief(&mut fields)?,
                "gate" => lot.gates.push(read_gate(&mut fields)?),
                "total" => lot.totals.0.push(read_total(&mut fields)?),
                "anchors" => lot.anchors = pairs(fields)?.into_iter().map(|(seen_at, left)| Anchor { seen_at, left }).collect(),
                "minutes" => lot.minutes = pairs(fields)?.into_iter().map(|(entries, exits)| Slot { entries, exits }).collect(),
                _ => return None,
            }
        }
        Some(lot)
    }
}

fn field(text: &mut String, value: impl std::fmt::Display) {
    // Writing to a string cannot fail.
    let _ = write!(text, "\t{value}");
}

fn name(text: &mut String, value: &str) {
    text.push('\t');
    text.extend(value.chars().map(|c| if c.is_control() { ' ' } else { c }));
}

fn write_gate(text: &mut String, gate: &Gate) {
    text.push_str("\ngate");
    name(text, &gate.device);
    field(text, gate.by_clock);
    for time in [gate.heard_at, gate.clock_ahead, gate.flow_at, gate.open_from, gate.silent_until] {
        field(text, time);
    }
    for number in [gate.net_per_min, gate.gross_per_min, gate.put_in, gate.put_in_variance] {
        field(text, number);
    }
}

fn read_gate<'a>(fields: &mut impl Iterator<Item = &'a str>) -> Option<Gate> {
    Some(Gate {
        device: fields.next()?.to_owned(),
        by_clock: next(fields)?,
        heard_at: next(fields)?,
        clock_ahead: next(fields)?,
        flow_at: next(fields)?,
        open_from: next(fields)?,
        silent_until: next(fields)?,
        net_per_min: next(fields)?,
        gross_per_min: next(fields)?,
        put_in: next(fields)?,
        put_in_variance: next(fields)?,
    })
}

fn write_total(text: &mut String, total: &Total) {
    text.push_str("\ntotal");
    [&total.counter, &total.epoch, &total.epoch_before].into_iter().for_each(|value| name(text, value));
    [total.highest, total.highest_before, total.told_at].iter().for_each(|value| field(text, value));
}

fn read_total<'a>(fields: &mut impl Iterator<Item = &'a str>) -> Option<Total> {
    Some(Total {
        counter: fields.next()?.to_owned(),
        epoch: fields.next()?.to_owned(),
        epoch_before: fields.next()?.to_owned(),
        highest: next(fields)?,
        highest_before: next(fields)?,
        told_at: next(fields)?,
    })
}

fn read_belief<'a>(fields: &mut impl Iterator<Item = &'a str>) -> Option<Belief> {
    let mut belief = Belief::new([0.0; STATES], [0.0; STATES]);
    for mean in &mut belief.mean {
        *mean = next(fields)?;
    }
    for i in 0..STATES {
        for j in i..STATES {
            belief.covariance[i][j] = next(fields)?;
            belief.covariance[j][i] = belief.covariance[i][j];
        }
    }
    Some(belief)
}

fn next<'a, T: FromStr>(fields: &mut impl Iterator<Item = &'a str>) -> Option<T> {
    fields.next()?.parse().ok()
}

fn pairs<'a, A: FromStr, B: FromStr>(mut fields: impl Iterator<Item = &'a str>) -> Option<Vec<(A, B)>> {
    let mut all = Vec::new();
    while let Some(first) = fields.next() {
        all.push((first.parse().ok()?, next(&mut fields)?));
    }
    Some(all)
}
