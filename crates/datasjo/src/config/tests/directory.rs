use std::fs;
use std::path::{Path, PathBuf};

use super::super::{explain, load, write_default};
use super::{Directory, GAUGES, POLLED};

#[test]
fn an_empty_file_is_the_same_as_none() {
    let directory = Directory::new(&[("feeds/a.toml", POLLED)]);
    let without = explain(&directory.config());
    directory.write("datasjo.toml", "");
    let empty = explain(&directory.config());
    assert_eq!(without, empty);
    let lines: Vec<&str> = without.lines().filter(|line| !line.starts_with("feed.") && !line.starts_with("data_dir")).collect();
    assert!(lines.contains(&"lake.flush_every_s = 10  # default"), "{without}");
    assert!(lines.contains(&"lake.flush_rows = 200000  # default"), "{without}");
    assert!(lines.contains(&"journal.max_bytes = 2147483648  # default"), "{without}");
    assert!(lines.contains(&"sql.listen = \"127.0.0.1:8080\"  # default"), "{without}");
    assert!(lines.contains(&"log.format = \"text\"  # default"), "{without}");
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let problems = load(Path::new("no/such/place")).unwrap_err();
    assert_eq!(problems.to_string(), "no/such/place: there is no such directory");
}

#[test]
fn paths_start_at_the_directory_and_urls_stay() {
    let directory = Directory::new(&[("feeds/a.toml", POLLED), ("datasjo.toml", "data_dir = \"var\"\n")]);
    let config = directory.config();
    assert_eq!(config.data_dir, directory.0.path().join("var"));
    assert!(config.lake.url.as_str().starts_with("file:///"), "{}", config.lake.url);
    assert!(config.lake.url.as_str().ends_with("/var/lake/"), "{}", config.lake.url);
    directory.write("datasjo.toml", "[lake]\nurl = \"s3://town/lake\"\n");
    assert_eq!(directory.config().lake.url.as_str(), "s3://town/lake/");
}

#[test]
fn wrong_words_in_the_instance_are_found_all_at_once() {
    let instance = "[lake]\nurl = \"ftp://town/lake\"\nflush_every = 10\n[sqll]\n[log]\nformat = \"jsn\"\n";
    let directory = Directory::new(&[("feeds/a.toml", POLLED), ("datasjo.toml", instance)]);
    let problems = directory.problems();
    assert_eq!(
        problems,
        [
            "datasjo.toml:3:1: unknown key \"flush_every\"; did you mean \"flush_every_s\"?",
            "datasjo.toml:4:2: unknown key \"sqll\"; did you mean \"sql\"?",
            "datasjo.toml:6:10: \"jsn\" is not one of text, json; did you mean \"json\"?",
        ]
    );
}

#[test]
fn values_outside_their_range_are_refused() {
    let instance = "[lake]\nflush_every_s = 301\nflush_rows = 0\n[journal]\nmax_bytes = 5\n[memory]\nquery_bytes = -1\n";
    let directory = Directory::new(&[("feeds/a.toml", POLLED), ("datasjo.toml", instance)]);
    assert_eq!(directory.problems(), ["datasjo.toml:7:15: expected a whole number from 0 up, found integer -1"]);
    directory.write("datasjo.toml", &instance.replace("-1", "1_073_741_824"));
    assert_eq!(
        directory.problems(),
        [
            "datasjo.toml:2:17: 301 is outside 1 to 300",
            "datasjo.toml:3:14: 0 is outside 1 to 10000000",
            "datasjo.toml:5:13: 5 is outside 1048576 to 1099511627776",
        ]
    );
}

#[test]
fn a_lake_can_lie_only_where_it_is_supported() {
    let directory = Directory::new(&[("feeds/a.toml", POLLED), ("datasjo.toml", "[lake]\nurl = \"ftp://town/lake\"\n")]);
    assert_eq!(directory.problems(), ["datasjo.toml:2:7: the lake cannot lie in ftp: only in file, s3, az, abfss"]);
}

#[test]
fn a_door_beyond_this_machine_needs_a_token_and_a_proxy() {
    let open = Directory::new(&[("feeds/a.toml", POLLED), ("datasjo.toml", "[sql]\nlisten = \"0.0.0.0:8080\"\n")]);
    let proxy = "datasjo.toml:2:10: 0.0.0.0:8080 is beyond this machine and the door speaks no TLS: put a proxy in front of it and \
                 say behind_proxy = true";
    let token = "datasjo.toml:2:10: everyone who reaches 0.0.0.0:8080 can read every table: set sql.token";
    assert_eq!(open.problems(), [proxy, token]);
    let proxied = "[sql]\nlisten = \"0.0.0.0:8080\"\nbehind_proxy = true\n";
    let proxied = Directory::new(&[("feeds/a.toml", POLLED), ("datasjo.toml", proxied)]);
    assert_eq!(proxied.problems(), [token]);
}

#[test]
fn a_definition_is_checked_where_it_stands() {
    let directory = Directory::new(&[("feeds/a.toml", POLLED)]);
    let wrong = GAUGES.replace("[\"gauge_id\"", "[\"gauge\"").replace("kind = \"float\"", "kind = \"flaot\"");
    directory.write("datasets/gauges.toml", &wrong);
    assert_eq!(
        directory.problems(),
        ["datasets/gauges.toml:21:8: \"flaot\" is not one of text, float, int, time, bool; did you mean \"float\"?"]
    );
    directory.write("datasets/gauges.toml", &GAUGES.replace("[\"gauge_id\"", "[\"gauge\""));
    assert_eq!(directory.problems(), ["datasets/gauges.toml:3:8: key column \"gauge\" is not declared"]);
    directory.write("datasets/gauges.toml", &GAUGES.replace("name = \"gauges\"", "name = \"rain\""));
    assert_eq!(directory.problems(), ["datasets/gauges.toml:1:8: the dataset \"rain\" must be in a file called rain.toml"]);
}

#[test]
fn the_header_of_a_reference_file_is_checked() {
    let files = [
        ("feeds/a.toml", POLLED),
        ("reference/zones.csv", "zone_id,Name,zone_id\n1,Sentrum,2\n"),
        ("reference/car_parks.csv", "car_park;capacity\nSentrum;120\n"),
        ("reference/gauges.csv", "gauge_id\nmoldegaard\n"),
    ];
    assert_eq!(
        Directory::new(&files).problems(),
        [
            "reference/car_parks.csv:1:9: the columns are separated by \";\": save the file with commas",
            "reference/gauges.csv: \"gauges\" is a dataset already: call the file something else",
            "reference/zones.csv:1:9: \"Name\" is no column name: use lower-case letters, digits and _",
            "reference/zones.csv:1:14: column \"zone_id\" stands twice",
        ]
    );
}

#[test]
fn the_names_of_the_programs_own_tables_are_taken() {
    let ledger = GAUGES.replace("\"gauges\"", "\"ledger\"");
    let files = [("feeds/a.toml", POLLED), ("datasets/ledger.toml", ledger.as_str()), ("reference/rejects.csv", "zone_id\n1\n")];
    let problems = Directory::new(&files).problems();
    let own = |name: &str| format!("\"{name}\" is a table of the program's own: choose another name");
    assert!(problems.contains(&format!("datasets/ledger.toml:1:8: {}", own("ledger"))), "{problems:?}");
    assert!(problems.contains(&format!("reference/rejects.csv: {}", own("rejects"))), "{problems:?}");
}

#[test]
fn mistakes_in_several_files_are_told_together_and_in_order() {
    let column = POLLED.replace("rain_mm =", "rain_m =");
    let files = [
        ("datasjo.toml", "[lake]\nflush_every_s = 0\n"),
        ("feeds/a.toml", "dataset = gauges\n"),
        ("feeds/b.toml", column.as_str()),
        ("reference/zones.csv", "Zone\n"),
    ];
    let problems = Directory::new(&files).problems();
    let places: Vec<&str> = problems.iter().map(|problem| problem.split(": ").next().unwrap()).collect();
    assert_eq!(places, ["datasjo.toml:2:17", "feeds/a.toml:1:11", "feeds/b.toml:13:1", "reference/zones.csv:1:1"]);
}

#[test]
fn secrets_are_never_explained() {
    let files =
        [("token", "0123456789abcdef"), ("datasjo.toml", "[sql]\ntoken = { file = \"token\" }\n"), ("feeds/a.toml", POLLED)];
    let text = explain(&Directory::new(&files).config());
    assert!(text.contains("sql.token = ***  # "), "{text}");
    assert!(!text.contains("0123456789abcdef"), "{text}");
}

#[test]
fn the_shipped_directory_has_no_problem() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    let config = load(&shipped).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.warnings, []);
}

#[test]
fn the_default_files_are_written_once_and_have_no_problem() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("datasjo.toml"), "data_dir = \"kept\"\n").unwrap();
    let written = write_default(directory.path()).unwrap();
    assert!(written.contains(&directory.path().join("feeds/water-meters.toml")), "{written:?}");
    assert!(!written.contains(&directory.path().join("datasjo.toml")), "{written:?}");
    let config = load(directory.path()).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(config.data_dir.ends_with("kept"));
    assert_eq!(write_default(directory.path()).unwrap(), Vec::<PathBuf>::new());
}
