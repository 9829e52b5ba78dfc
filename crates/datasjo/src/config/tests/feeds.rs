use super::super::{SourceConfig, explain};
use super::{DECODE, Directory, GAUGES, POLLED, feed_problems, mqtt, push};

#[test]
fn the_smallest_feed_is_read() {
    let config = Directory::new(&[("feeds/a.toml", POLLED)]).config();
    assert_eq!(config.feeds.len(), 1);
    assert_eq!(&*config.feeds[0].name, "a");
    assert_eq!(config.feeds[0].dataset.name, "gauges");
    assert_eq!(config.feeds[0].config_hash.len(), 32);
    assert!(matches!(&config.feeds[0].source, SourceConfig::Poll(poll) if poll.url == "https://rain.example/now"));
}

#[test]
fn a_misspelt_dataset_is_answered_with_the_right_one() {
    let problems = feed_problems(&POLLED.replace("\"gauges\"", "\"guages\""));
    let unused = "datasets/gauges.toml:1:8: warning: no feed brings rows for the dataset \"gauges\"";
    assert_eq!(problems, [unused, "feeds/a.toml:1:11: no dataset \"guages\"; did you mean \"gauges\"?"]);
}

#[test]
fn a_misspelt_kind_is_answered_with_the_right_one() {
    let problems = feed_problems(&POLLED.replace("\"poll\"", "\"pol\""));
    assert_eq!(problems, ["feeds/a.toml:4:8: \"pol\" is not one of mqtt, poll, push, file; did you mean \"poll\"?"]);
    let problems = feed_problems(&POLLED.replace("kind = \"poll\"\n", ""));
    assert_eq!(problems, ["feeds/a.toml:3:1: [source] needs kind = one of \"mqtt\", \"poll\", \"push\", \"file\""]);
}

#[test]
fn unknown_and_renamed_keys_are_found_in_every_part_of_a_feed() {
    let feed =
        POLLED.replace("[source]", "descripton = \"rain\"\n\n[source]").replace("url =", "ulr =").replace("format =", "type =");
    assert_eq!(
        feed_problems(&feed),
        [
            "feeds/a.toml:3:1: unknown key \"descripton\"; did you mean \"description\"?",
            "feeds/a.toml:7:1: unknown key \"ulr\"; did you mean \"url\"?",
            "feeds/a.toml:10:1: unknown key \"type\"; did you mean \"format\"?",
        ]
    );
}

#[test]
fn every_kind_refuses_keys_it_does_not_know() {
    for kind in ["mqtt", "poll", "push", "file"] {
        let feed = format!("dataset = \"gauges\"\n[source]\nkind = \"{kind}\"\nxyzzy = 1\n{DECODE}");
        let problems = feed_problems(&feed);
        let expected = "feeds/a.toml:4:1: unknown key \"xyzzy\"; the keys here are ";
        assert!(problems.iter().any(|problem| problem.starts_with(expected)), "{kind}: {problems:?}");
    }
}

#[test]
fn what_a_source_says_of_itself_is_told_at_the_key() {
    let problems = feed_problems(&mqtt("url = \"http://localhost\"\ntopics = []\n"));
    let scheme = "feeds/a.toml:4:7: url: the scheme is http; write mqtt://host:port or mqtts://host:port";
    assert_eq!(problems, [scheme, "feeds/a.toml:5:10: topics: there is no filter"]);
}

#[test]
fn a_column_that_is_not_in_the_dataset_is_answered_with_the_nearest() {
    let problems = feed_problems(&POLLED.replace("rain_mm =", "rain_m ="));
    let place = "feeds/a.toml:13:1: dataset \"gauges\" has no column \"rain_m\"";
    assert_eq!(problems, [format!("{place}; it has gauge_id, observed_at, rain_mm; did you mean \"rain_mm\"?")]);
}

#[test]
fn a_format_that_is_none_is_answered_with_the_nearest() {
    let problems = feed_problems(&POLLED.replace("\"json\"", "\"jsn\""));
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("feeds/a.toml:8:10: \"jsn\" is not one of json, jsonl, csv, text"), "{problems:?}");
    assert!(problems[0].ends_with("; did you mean \"json\"?"), "{problems:?}");
}

#[test]
fn a_variable_that_is_not_set_is_answered_with_one_that_is() {
    let header = "headers = { Authorization = { env = \"CARGO_MANIFEST_DI\" } }\n";
    let problems = feed_problems(&POLLED.replace("\n[decode]\n", &format!("{header}\n[decode]\n")));
    assert_eq!(
        problems,
        ["feeds/a.toml:6:37: the environment variable CARGO_MANIFEST_DI is not set; did you mean \"CARGO_MANIFEST_DIR\"?"]
    );
}

#[test]
fn a_secret_file_that_is_not_there_is_named() {
    let header = "headers = { Authorization = { file = \"key\" } }\n";
    let problems = feed_problems(&POLLED.replace("\n[decode]\n", &format!("{header}\n[decode]\n")));
    assert_eq!(problems, ["feeds/a.toml:6:38: there is no file key"]);
}

#[test]
fn a_secret_written_into_the_file_is_refused_and_not_repeated() {
    let problems =
        feed_problems(&mqtt("url = \"mqtt://localhost\"\ntopics = [\"a\"]\nusername = \"u\"\npassword = \"hunter2\"\n"));
    let message = "a secret is never written here; name its place: { env = \"NAME\" } or { file = \"path\" }";
    assert_eq!(problems, [format!("feeds/a.toml:7:12: {message}")]);
}

#[test]
fn a_feed_that_is_switched_off_needs_no_secrets_but_right_words() {
    let off = format!("enabled = false\n{}", push("/push/a").replace("file = \"token\"", "env = \"NO_SUCH_VARIABLE\""));
    let directory = Directory::new(&[("feeds/a.toml", off.as_str())]);
    let config = directory.config();
    assert_eq!((config.feeds.len(), config.disabled.as_slice()), (0, ["a".to_owned()].as_slice()));
    assert_eq!(config.warnings, []);
    directory.write("feeds/a.toml", &off.replace("tokens", "tokns"));
    assert_eq!(directory.problems(), ["feeds/a.toml:6:1: unknown key \"tokns\"; did you mean \"tokens\"?"]);
}

#[test]
fn a_broker_fills_in_what_the_feed_leaves_out() {
    let broker = "[broker.main]\nurl = \"mqtt://localhost:1884\"\nkeep_alive_s = 60\n";
    let feed = mqtt("broker = \"main\"\ntopics = [\"rain/#\"]\nkeep_alive_s = 20\n");
    let directory = Directory::new(&[("datasjo.toml", broker), ("feeds/a.toml", feed.as_str())]);
    let config = directory.config();
    let SourceConfig::Mqtt(source) = &config.feeds[0].source else { panic!("{:?}", config.feeds[0].source) };
    assert_eq!((source.broker().as_str(), source.keep_alive_s), ("localhost:1884", 20));
    assert_eq!(source.client_id, "datasjo-a");
    let text = explain(&config).replace(&format!("{}/", directory.0.path().display()), "");
    assert!(text.contains("feed.a.source.url = \"mqtt://localhost:1884\"  # datasjo.toml:2\n"), "{text}");
    assert!(text.contains("feed.a.source.keep_alive_s = 20  # feeds/a.toml:6\n"), "{text}");
    assert!(text.contains("feed.a.source.client_id = \"datasjo-a\"  # default\n"), "{text}");
}

#[test]
fn a_wrong_broker_is_told_where_it_is_wrong_and_once() {
    let broker = "[broker.main]\nurll = \"mqtt://localhost:1884\"\nqos = \"one\"\n";
    let feed = mqtt("broker = \"main\"\ntopics = [\"rain/#\"]\n");
    let directory = Directory::new(&[("datasjo.toml", broker), ("feeds/a.toml", feed.as_str()), ("feeds/b.toml", feed.as_str())]);
    assert_eq!(
        directory.problems(),
        [
            "datasjo.toml:2:1: unknown key \"urll\"; did you mean \"url\"?",
            "datasjo.toml:3:7: expected a whole number from 0 up, found text",
        ]
    );
    directory.write("datasjo.toml", "[broker.main]\nurl = \"mqtt://localhost:1884\"\n");
    directory.write("feeds/b.toml", &feed.replace("\"main\"", "\"mian\""));
    assert_eq!(directory.problems(), ["feeds/b.toml:4:10: there is no [broker.mian] in datasjo.toml; did you mean \"main\"?"]);
}

#[test]
fn defaults_are_explained_in_the_words_of_the_files() {
    let file = format!("dataset = \"gauges\"\n[source]\nkind = \"file\"\npath = \"incoming\"\n{DECODE}");
    let broker = mqtt("url = \"mqtt://localhost\"\ntopics = [\"rain/#\"]\n");
    let pushed = push("/push/rain");
    let files = [
        ("datasjo.toml", "[push]\nlisten = \"127.0.0.1:0\"\n"),
        ("token", "0123456789abcdef"),
        ("feeds/broker.toml", broker.as_str()),
        ("feeds/file.toml", file.as_str()),
        ("feeds/polled.toml", POLLED),
        ("feeds/pushed.toml", pushed.as_str()),
    ];
    let text = explain(&Directory::new(&files).config());
    assert!(text.contains("feed.broker.source.version = \"5\"  # default\n"), "{text}");
    assert!(text.contains("feed.polled.source.method = \"GET\"  # default\n"), "{text}");
    let values = text.lines().filter_map(|line| line.split_once(" = ")?.1.strip_suffix("  # default"));
    let rust: Vec<&str> = values.filter(|value| value.starts_with(|c: char| c.is_ascii_uppercase())).collect();
    assert_eq!(rust, Vec::<&str>::new(), "the words of the program's inside");
}

#[test]
fn two_feeds_under_one_client_id_or_one_path_are_refused() {
    let same = mqtt("url = \"mqtt://localhost\"\ntopics = [\"a\"]\nclient_id = \"town\"\n");
    let problems = Directory::new(&[("feeds/a.toml", same.as_str()), ("feeds/b.toml", same.as_str())]).problems();
    assert_eq!(problems, ["feeds/b.toml:6:13: feed a has the client id \"town\" too: each needs its own"]);

    let rain = push("/push/rain");
    let files = [
        ("datasjo.toml", "[push]\nlisten = \"127.0.0.1:0\"\n"),
        ("token", "0123456789abcdef"),
        ("feeds/a.toml", rain.as_str()),
        ("feeds/b.toml", rain.as_str()),
    ];
    let problems = Directory::new(&files).problems();
    assert_eq!(problems, ["feeds/b.toml:4:8: feed a has the path \"/push/rain\" too: each needs its own"]);
}

#[test]
fn a_pushed_feed_needs_a_door() {
    let feed = push("/push/rain");
    let problems = Directory::new(&[("token", "0123456789abcdef"), ("feeds/a.toml", feed.as_str())]).problems();
    let message = "nobody listens for it: datasjo.toml needs a table [push] with listen = \"address:port\"";
    assert_eq!(problems, [format!("feeds/a.toml:3:8: {message}")]);
}

#[test]
fn a_file_that_is_not_there_yet_is_a_warning() {
    let feed = format!("dataset = \"gauges\"\n[source]\nkind = \"file\"\npath = \"incoming\"\n{DECODE}");
    let directory = Directory::new(&[("feeds/a.toml", feed.as_str())]);
    assert_eq!(directory.problems(), ["feeds/a.toml:4:8: warning: there is no incoming yet"]);
    directory.write("incoming/rain.json", "");
    let config = directory.config();
    assert!(matches!(&config.feeds[0].source, SourceConfig::File(file) if file.path == directory.0.path().join("incoming")));
    assert_eq!(directory.problems(), Vec::<String>::new());
}

#[test]
fn a_feed_has_a_plain_name() {
    let problems = Directory::new(&[("feeds/Rain Molde.toml", POLLED)]).problems();
    let message = "\"Rain Molde\" is no feed name: call the file by up to 64 lower-case letters, digits, - and _";
    assert_eq!(problems, [format!("feeds/Rain Molde.toml:1:1: {message}")]);
}

#[test]
fn a_feeds_hash_changes_with_its_file_and_with_its_dataset() {
    let directory = Directory::new(&[("feeds/a.toml", POLLED)]);
    let first = directory.config().feeds[0].config_hash.clone();
    assert_eq!(directory.config().feeds[0].config_hash, first);
    directory.write("feeds/a.toml", &POLLED.replace("rain.example", "regn.example"));
    let second = directory.config().feeds[0].config_hash.clone();
    directory.write("datasets/gauges.toml", &GAUGES.replace("lateness_h = 24", "lateness_h = 48"));
    let third = directory.config().feeds[0].config_hash.clone();
    assert!(first != second && second != third, "{first} {second} {third}");
}
