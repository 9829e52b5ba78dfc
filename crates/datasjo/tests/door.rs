//! The SQL door of a running instance, as a stranger finds it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

/// A running instance without feeds; ended when it is dropped.
struct Running {
    directory: tempfile::TempDir,
    instance: Child,
    /// Address and port.
    sql: String,
}

impl Running {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("datasjo.toml"), "[sql]\nlisten = \"127.0.0.1:0\"\n").unwrap();
        let mut command = datasjo(directory.path());
        let mut instance = command.arg("run").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(instance.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let sql = ready.split_whitespace().find_map(|word| word.strip_prefix("sql=http://")).unwrap_or_else(|| panic!("{ready}"));
        Self { sql: sql.to_owned(), directory, instance }
    }

    /// Sends a GET and gives all of the answer.
    fn get(&self, path: &str, host: &str) -> String {
        let mut stream = TcpStream::connect(&self.sql).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn query(&self, url: &str, sql: &str) -> Output {
        datasjo(self.directory.path()).args(["query", "--url", url, "--format", "csv", sql]).output().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.instance.kill();
        let _ = self.instance.wait();
    }
}

fn datasjo(directory: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_datasjo"));
    command.env_remove("DATASJO_TOKEN").arg("--config").arg(directory);
    command
}

#[test]
fn without_a_token_a_page_from_elsewhere_gets_nothing() {
    let running = Running::start();
    for path in ["/v1/sql?q=SELECT%201", "/healthz", "/metrics"] {
        let refused = running.get(path, "rebound.example:8080");
        assert!(refused.starts_with("HTTP/1.1 403"), "{path}: {refused}");
        for own in ["localhost", "127.0.0.1:8080", &running.sql] {
            let answer = running.get(path, own);
            assert!(answer.starts_with("HTTP/1.1 200"), "{path} as {own}: {answer}");
        }
    }
}

#[test]
fn an_instance_is_asked_by_its_address_alone() {
    let running = Running::start();
    let one = running.query(&running.sql, "SELECT 1 AS one");
    assert_eq!(String::from_utf8_lossy(&one.stdout), "one\n1\n", "{}", String::from_utf8_lossy(&one.stderr));
    let none = running.query(&running.sql, "SELECT feed FROM ledger WHERE false");
    assert_eq!(String::from_utf8_lossy(&none.stdout), "feed\n", "an answer without rows has its header");
}

#[test]
fn a_query_that_cannot_be_planned_is_answered_and_the_door_stays_open() {
    let running = Running::start();
    let deep = format!("SELECT {}", vec!["\"ice\""; 8_000].join("OR"));
    let refused = running.query(&running.sql, &deep);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("words and signs"), "{refused:?}");
    let misspelt = running.query(&running.sql, "SELECT * FROM legder");
    assert!(String::from_utf8_lossy(&misspelt.stderr).contains("did you mean \"ledger\"?"), "{misspelt:?}");
    let column = running.query(&running.sql, "SELECT recieved FROM ledger");
    assert!(String::from_utf8_lossy(&column.stderr).contains("received'?"), "the nearest is offered: {column:?}");
    assert!(running.query(&running.sql, "SELECT 1").status.success());
}
