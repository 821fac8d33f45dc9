//! The binary itself: what is wrong is one line and exit code 2.

use std::net::TcpListener;
use std::process::{Command, Output};

fn loadtest(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadtest")).args(words).output().expect("the binary was built")
}

fn no_run(words: &[&str], parts: &[&str]) {
    let output = loadtest(words);
    let said = String::from_utf8_lossy(&output.stderr);

    assert_eq!(output.status.code(), Some(2), "{words:?}: {said}");
    assert_eq!(said.lines().count(), 1, "{words:?}: {said}");
    assert!(output.stdout.is_empty(), "{words:?}");
    for part in parts {
        assert!(said.contains(part), "{words:?}: {part} in: {said}");
    }
    assert!(!said.contains("hunter2"), "{words:?}: {said}");
}

#[test]
fn wrong_words_and_scenarios_are_one_line() {
    no_run(&[], &["no command"]);
    no_run(&["fly"], &["fly"]);
    no_run(&["run", "consultation", "--rooms", "none"], &["--rooms"]);
    no_run(&["run", "consultation", "--for", "10ms", "--secret", "hunter2"], &["--for"]);
    no_run(&["run", "consultaton"], &["consultaton", "weak-network"]);
    no_run(&["run", "/nonexistent/x.toml"], &["/nonexistent/x.toml"]);
    no_run(&["run", "consultation", "--json", "/nonexistent/x.json"], &["/nonexistent/x.json"]);
    no_run(&["run", "consultation", "--secret-file", "/nonexistent/key"], &["--secret-file"]);
    no_run(&["size", "--serve", "/nonexistent/colloque"], &["/nonexistent/colloque"]);
}

#[test]
fn a_wrong_scenario_file_names_its_line() {
    let file = std::env::temp_dir().join(format!("loadtest-wrong-{}.toml", std::process::id()));
    std::fs::write(&file, "about = \"One.\"\nrooms = 1\nfor = \"5s\"\nseat = []\n").unwrap();

    no_run(&["run", &file.to_string_lossy()], &[":4:", "`seat`", "`seats`"]);

    std::fs::remove_file(&file).unwrap();
}

#[test]
fn an_unreachable_relay_is_one_line() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("ws://{closed}");

    no_run(&["run", "consultation", "--url", &url, "--secret", "hunter2"], &["no relay answers", "connection refused"]);
    no_run(&["run", "consultation", "--url", &url, "--pid", "auto"], &["--pid auto"]);
    let behind_tls = format!("wss://{closed}");
    no_run(&["run", "consultation", "--url", &behind_tls], &["no relay answers", "connection refused"]);
    no_run(&["run", "consultation", "--url", "relay"], &["ws://HOST:PORT"]);
}

#[test]
fn the_scenarios_are_listed() {
    let output = loadtest(&["scenarios"]);

    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(said.lines().count(), 8);
    assert!(said.contains("hostile-noise"));
}
