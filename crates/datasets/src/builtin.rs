use datasjo_table::Table;

/// The datasets that come with the program: file name and text of each, in the order of their names.
pub const BUILTIN: &[(&str, &str)] = &[
    ("device_status.toml", include_str!("../../../config/datasets/device_status.toml")),
    ("evapotranspiration.toml", include_str!("../../../config/datasets/evapotranspiration.toml")),
    ("parking_crossings.toml", include_str!("../../../config/datasets/parking_crossings.toml")),
    ("parking_occupancy.toml", include_str!("../../../config/datasets/parking_occupancy.toml")),
    ("precipitation.toml", include_str!("../../../config/datasets/precipitation.toml")),
    ("precipitation_forecast.toml", include_str!("../../../config/datasets/precipitation_forecast.toml")),
    ("river.toml", include_str!("../../../config/datasets/river.toml")),
    ("soil_moisture.toml", include_str!("../../../config/datasets/soil_moisture.toml")),
    ("temperature.toml", include_str!("../../../config/datasets/temperature.toml")),
    ("traffic_counts.toml", include_str!("../../../config/datasets/traffic_counts.toml")),
    ("water_meters.toml", include_str!("../../../config/datasets/water_meters.toml")),
];

/// The tables of [`BUILTIN`], in the same order. A test holds that every text is a table without problems.
pub fn builtin() -> Vec<Table> {
    BUILTIN.iter().filter_map(|(_, text)| toml::from_str(text).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::MAX_COLUMNS;

    #[test]
    fn every_built_in_dataset_is_a_table_without_problems() {
        for (file, text) in BUILTIN {
            let table: Table = toml::from_str(text).unwrap_or_else(|e| panic!("{file}: {e}"));
            assert_eq!(format!("{}.toml", table.name), *file);
            assert!(table.problems().is_empty(), "{file}: {:?}", table.problems());
            assert!(table.columns.len() <= MAX_COLUMNS, "{file}");
        }
        assert_eq!(builtin().len(), BUILTIN.len());
    }

    #[test]
    fn every_unit_of_a_built_in_dataset_is_in_the_list() {
        for table in builtin() {
            for unit in table.columns.iter().filter_map(|c| c.unit.as_deref()) {
                assert!(!crate::units::conversions_to(unit).is_empty(), "{}: {unit}", table.name);
            }
        }
    }
}
