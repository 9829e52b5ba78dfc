//! The values signs show: the newest row of each key. Read without waiting for a writer.

use std::collections::BTreeMap;

use redb::WriteTransaction;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::row::{ProductRow, key_text};
use crate::store::{Fault, JsonTable, SIGNS, get, place, put, scan};
use crate::{State, StateError};

/// The value of one sign.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sign {
    /// The product.
    pub product: String,
    /// The key, as [`key_text`] writes it.
    pub key: String,
    /// The moment the value speaks of, microseconds since 1970 UTC.
    pub as_of_us: i64,
    /// From then on it must not be shown any more, microseconds since 1970 UTC; `None`: the product sets no end.
    pub valid_until_us: Option<i64>,
    /// When its input was read, by the wall clock, microseconds since 1970 UTC.
    pub retrieved_at_us: i64,
    /// The product's columns.
    pub values: Map<String, Value>,
}

impl State {
    /// The value of the sign `key`, as [`key_text`] writes it; `None` if it never had one. Whether it is still valid is for the
    /// caller to judge, who knows the time. Takes microseconds.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn sign(&self, product: &str, key: &str) -> Result<Option<Sign>, StateError> {
        self.read("read a sign of", |txn| get(&txn.open_table(SIGNS)?, &place(product, key)))
    }

    /// The values of all signs of `product`, by key.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn signs(&self, product: &str) -> Result<Vec<Sign>, StateError> {
        self.read("read signs of", |txn| scan(&txn.open_table(SIGNS)?, &place(product, "")))
    }

    /// Takes values between nominal ticks: the mark stays. A value never replaces a newer one. Tells how many signs changed;
    /// synced when it returns.
    ///
    /// # Errors
    /// [`StateError::Row`] if `valid_until` cannot be read; [`StateError::Store`] if the disk is full or fails.
    pub fn put_signs_now(&self, product: &str, rows: &[ProductRow], retrieved_at_us: i64) -> Result<usize, StateError> {
        self.write("write signs to", |txn| write(txn, product, rows, retrieved_at_us))
    }
}

/// Stores the newest row of each key, unless the store has a newer one or the same.
pub(crate) fn write(txn: &WriteTransaction, product: &str, rows: &[ProductRow], retrieved_at_us: i64) -> Result<usize, Fault> {
    let mut newest: BTreeMap<String, &ProductRow> = BTreeMap::new();
    for row in rows {
        let held = newest.entry(key_text(&row.key)).or_insert(row);
        if held.as_of_us <= row.as_of_us {
            *held = row;
        }
    }
    let mut table = txn.open_table(SIGNS)?;
    let mut changed = 0;
    for (key, row) in newest {
        let sign = sign(product, key, row, retrieved_at_us)?;
        changed += usize::from(offer(&mut table, &sign)?);
    }
    Ok(changed)
}

fn sign(product: &str, key: String, row: &ProductRow, retrieved_at_us: i64) -> Result<Sign, StateError> {
    match row.instant("valid_until") {
        Ok(valid_until_us) => Ok(Sign {
            product: product.to_owned(),
            key,
            as_of_us: row.as_of_us,
            valid_until_us,
            retrieved_at_us,
            values: row.values.clone(),
        }),
        Err(reason) => Err(StateError::Row { product: product.to_owned(), key, as_of_us: row.as_of_us, reason }),
    }
}

fn offer(table: &mut JsonTable<'_>, sign: &Sign) -> Result<bool, Fault> {
    let place = place(&sign.product, &sign.key);
    let held: Option<Sign> = get(&*table, &place)?;
    let stays = |held: &Sign| held.as_of_us > sign.as_of_us || (held.as_of_us == sign.as_of_us && held.values == sign.values);
    if held.as_ref().is_some_and(stays) {
        return Ok(false);
    }
    put(table, &place, sign)?;
    Ok(true)
}
