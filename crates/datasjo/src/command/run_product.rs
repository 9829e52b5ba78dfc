use std::path::Path;
use std::sync::Arc;

use anyhow::bail;
use datasjo_pipeline::{Interval, Product, compute_once};
use datasjo_serve::format::Encoder;
use jiff::Timestamp;

use crate::args::RunProduct;
use crate::instance::open_lake_to_read;

/// Two ticks lie closer than this, also of a product of each month.
const LONGEST_US: i64 = 63 * 86_400_000_000;

/// Computes rows of a product over the lake as it is, and keeps nothing.
pub(crate) async fn run(dir: &Path, args: RunProduct) -> anyhow::Result<bool> {
    let config = super::load(dir)?;
    let planned = super::pipelines::planned(dir, &config, &args.name)?;
    let interval = interval(&planned.product, args.as_of, args.since)?;
    let lake = Arc::new(open_lake_to_read(&config).await?);
    let rows = compute_once(lake, &config.products, planned, &interval).await?;
    let mut text = Vec::new();
    let mut encoder = Encoder::new(args.format.into(), &rows.schema(), &mut text)?;
    encoder.write(&rows)?;
    encoder.finish()?;
    super::say(&String::from_utf8(text)?)?;
    Ok(true)
}

/// The ticks after `since` and up to `as_of`; without `since` the last of them.
fn interval(product: &Product, as_of: Timestamp, since: Option<Timestamp>) -> anyhow::Result<Interval> {
    let every = &product.header.every;
    let until_us = as_of.as_microsecond();
    let since_us = match since {
        Some(since) => since.as_microsecond(),
        None => every.ticks(until_us.saturating_sub(LONGEST_US), until_us).iter().rev().nth(1).copied().unwrap_or(until_us),
    };
    let ticks_us = every.ticks(since_us, until_us);
    let Some(as_of_us) = ticks_us.last().copied() else {
        bail!("{} has no tick after {} and up to {as_of}", product.name(), Timestamp::from_microsecond(since_us)?);
    };
    Ok(Interval { since_us, as_of_us, ticks_us })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hourly() -> Product {
        let sql = "-- product: p\n-- meaning: m\n-- kind: table\n-- every: 1 hour\n-- reach: 1 day\n-- keys: k\n-- access: public\n\
            -- owner: water\nSELECT as_of, 'a' AS k FROM ticks";
        Product::new("p", vec![("10-p.sql".to_owned(), sql.to_owned())]).unwrap()
    }

    #[test]
    fn without_a_beginning_the_last_tick_is_answered() {
        let found = interval(&hourly(), "2026-03-20T10:15:00Z".parse().unwrap(), None).unwrap();
        let us = |text: &str| text.parse::<Timestamp>().unwrap().as_microsecond();
        assert_eq!(found.ticks_us, [us("2026-03-20T10:00:00Z")]);
        assert_eq!((found.since_us, found.as_of_us), (us("2026-03-20T09:00:00Z"), us("2026-03-20T10:00:00Z")));
    }

    #[test]
    fn an_interval_without_a_tick_is_told() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let found = interval(&hourly(), at("2026-03-20T10:15:00Z"), Some(at("2026-03-20T10:05:00Z")));
        assert!(found.unwrap_err().to_string().contains("p has no tick after"));
    }
}
