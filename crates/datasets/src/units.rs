//! The closed list of units and the way from one to another.

/// What a unit measures. Only units of one quantity can be converted into each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantity {
    Length,
    Volume,
    VolumeFlow,
    Temperature,
    Pressure,
    Time,
    Share,
    Speed,
    RainRate,
    Voltage,
}

struct Unit {
    /// Its name first, then other ways to write it.
    names: &'static [&'static str],
    quantity: Quantity,
    /// Value in the base unit = value x factor + offset. Base units: m, m3, m3/s, K, Pa, s, 1, m/s, mm/h, V.
    factor: f64,
    offset: f64,
}

/// Factors are exact by definition (SI; the metre of water is 9806.65 Pa, at standard gravity and 1000 kg/m3).
const UNITS: &[Unit] = &[
    unit(&["m"], Quantity::Length, 1.0),
    unit(&["km"], Quantity::Length, 1000.0),
    unit(&["dm"], Quantity::Length, 0.1),
    unit(&["cm"], Quantity::Length, 0.01),
    unit(&["mm"], Quantity::Length, 0.001),
    unit(&["m3", "m³"], Quantity::Volume, 1.0),
    unit(&["l", "L"], Quantity::Volume, 0.001),
    unit(&["m3/s", "m³/s"], Quantity::VolumeFlow, 1.0),
    unit(&["m3/h", "m³/h"], Quantity::VolumeFlow, 1.0 / 3600.0),
    unit(&["m3/d", "m³/d"], Quantity::VolumeFlow, 1.0 / 86400.0),
    unit(&["l/s", "L/s"], Quantity::VolumeFlow, 0.001),
    unit(&["l/min", "L/min"], Quantity::VolumeFlow, 0.001 / 60.0),
    unit(&["l/h", "L/h"], Quantity::VolumeFlow, 0.001 / 3600.0),
    unit(&["K"], Quantity::Temperature, 1.0),
    Unit { names: &["degC", "°C", "C"], quantity: Quantity::Temperature, factor: 1.0, offset: 273.15 },
    Unit { names: &["degF", "°F", "F"], quantity: Quantity::Temperature, factor: 5.0 / 9.0, offset: 459.67 * 5.0 / 9.0 },
    unit(&["Pa"], Quantity::Pressure, 1.0),
    unit(&["hPa", "mbar"], Quantity::Pressure, 100.0),
    unit(&["kPa"], Quantity::Pressure, 1000.0),
    unit(&["bar"], Quantity::Pressure, 100_000.0),
    unit(&["mH2O", "mVS"], Quantity::Pressure, 9806.65),
    unit(&["s"], Quantity::Time, 1.0),
    unit(&["ms"], Quantity::Time, 0.001),
    unit(&["min"], Quantity::Time, 60.0),
    unit(&["h"], Quantity::Time, 3600.0),
    unit(&["d"], Quantity::Time, 86400.0),
    unit(&["%"], Quantity::Share, 0.01),
    unit(&["1"], Quantity::Share, 1.0),
    unit(&["m/s"], Quantity::Speed, 1.0),
    unit(&["km/h"], Quantity::Speed, 1.0 / 3.6),
    unit(&["mm/h"], Quantity::RainRate, 1.0),
    unit(&["mm/min"], Quantity::RainRate, 60.0),
    unit(&["V"], Quantity::Voltage, 1.0),
    unit(&["mV"], Quantity::Voltage, 0.001),
];

const fn unit(names: &'static [&'static str], quantity: Quantity, factor: f64) -> Unit {
    Unit { names, quantity, factor, offset: 0.0 }
}

/// A straight line: value x `scale` + `shift`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    /// Factor.
    pub scale: f64,
    /// Summand, in the target unit.
    pub shift: f64,
}

impl Linear {
    /// Leaves a value as it is.
    pub const IDENTITY: Linear = Linear { scale: 1.0, shift: 0.0 };

    /// The converted value, rounded to twelve significant digits: no sensor knows more, and the noise digits of binary
    /// arithmetic (15.129999999999995) only make files larger. An identity changes nothing.
    pub fn apply(self, value: f64) -> f64 {
        if self == Self::IDENTITY {
            return value;
        }
        round_to_12_digits(value * self.scale + self.shift)
    }

    /// The same line, with `factor` on the value first.
    #[must_use]
    pub fn after_factor(self, factor: f64) -> Self {
        Self { scale: self.scale * factor, shift: self.shift }
    }
}

fn round_to_12_digits(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let digits = 11 - value.abs().log10().floor() as i32;
    if !(-20..=22).contains(&digits) {
        return value;
    }
    let power = 10f64.powi(digits.abs());
    if digits >= 0 { (value * power).round() / power } else { (value / power).round() * power }
}

/// Why there is no way from one unit to another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitProblem {
    /// Not in the list.
    #[error("unit \"{0}\" is unknown; known are {known}", known = names().join(", "))]
    Unknown(String),
    /// They measure different things.
    #[error("\"{from}\" cannot be converted to \"{to}\": they measure different things")]
    Different {
        /// The unit that arrives.
        from: String,
        /// The unit of the column.
        to: String,
    },
}

/// The way from one unit to another. The same word on both sides is always the identity, also for words not in the list.
///
/// # Errors
/// If one is not in the list, or they measure different things.
pub fn conversion(from: &str, to: &str) -> Result<Linear, UnitProblem> {
    if from == to {
        return Ok(Linear::IDENTITY);
    }
    let (a, b) = (find(from)?, find(to)?);
    if a.quantity != b.quantity {
        return Err(UnitProblem::Different { from: from.to_owned(), to: to.to_owned() });
    }
    if a.names == b.names {
        return Ok(Linear::IDENTITY);
    }
    Ok(Linear { scale: a.factor / b.factor, shift: (a.offset - b.offset) / b.factor })
}

/// Every way to write a unit that can be converted to `to`, with the way there.
pub(crate) fn conversions_to(to: &str) -> Vec<(&'static str, Linear)> {
    let all = UNITS.iter().flat_map(|u| u.names.iter().copied());
    all.filter_map(|name| conversion(name, to).ok().map(|linear| (name, linear))).collect()
}

fn find(name: &str) -> Result<&'static Unit, UnitProblem> {
    UNITS.iter().find(|u| u.names.contains(&name)).ok_or_else(|| UnitProblem::Unknown(name.to_owned()))
}

fn names() -> Vec<&'static str> {
    UNITS.iter().filter_map(|u| u.names.first().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn convert(value: f64, from: &str, to: &str) -> f64 {
        conversion(from, to).unwrap().apply(value)
    }

    #[test]
    fn known_pairs_come_out_without_noise_digits() {
        assert_eq!(convert(3.6, "m3/h", "l/s"), 1.0);
        assert_eq!(convert(288.28, "K", "degC"), 15.13);
        assert_eq!(convert(59.21, "m³/h", "l/s"), 16.4472222222);
        assert_eq!(convert(2.5, "m", "cm"), 250.0);
        assert_eq!(convert(98.6, "degF", "degC"), 37.0);
        assert_eq!(convert(4.0, "bar", "mH2O"), 40.7886485191);
        assert_eq!(convert(12.345678901234, "mm", "mm"), 12.345678901234);
        assert_eq!(convert(7.1, "L/s", "l/s"), 7.1);
    }

    #[test]
    fn units_of_different_quantities_do_not_mix() {
        assert!(matches!(conversion("m3", "l/s"), Err(UnitProblem::Different { .. })));
        assert!(matches!(conversion("gal/min", "l/s"), Err(UnitProblem::Unknown(_))));
        assert_eq!(conversion("furlong", "furlong"), Ok(Linear::IDENTITY));
    }

    #[test]
    fn no_name_stands_for_two_units() {
        let mut all: Vec<&str> = UNITS.iter().flat_map(|u| u.names.iter().copied()).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    proptest! {
        #[test]
        fn there_and_back_is_the_same_value(value in -1e6f64..1e6, a in 0..UNITS.len(), b in 0..UNITS.len()) {
            let (from, to) = (UNITS[a].names[0], UNITS[b].names[0]);
            if let (Ok(there), Ok(back)) = (conversion(from, to), conversion(to, from)) {
                let again = back.apply(there.apply(value));
                // Two roundings to 12 digits of the larger of the numbers that occur on the way.
                let largest = value.abs().max((value * there.scale).abs() / there.scale).max(there.shift.abs() / there.scale);
                prop_assert!((again - value).abs() <= largest.max(1e-9) * 1e-10, "{value} {from} -> {to} -> {again}");
            }
        }
    }
}
