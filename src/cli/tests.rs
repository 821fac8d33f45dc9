use super::*;
use crate::config::KeyMaterial;

fn served(config: Config, mode: Mode) -> Result<(), NodeError> {
    // The configuration goes out as the text of an error: function pointers carry no state.
    Err(NodeError::Setup(format!(
        "{mode:?} http {:?}:{} udp {:?}:{:?} advertise {:?} keys {:?}",
        config.http.bind,
        config.http.port,
        config.media.bind,
        config.media.ports(),
        config.media.advertise,
        config.tenants.iter().flat_map(|tenant| &tenant.keys).map(|key| &key.id).collect::<Vec<_>>(),
    )))
}

fn signed(request: &TokenRequest) -> Result<String, String> {
    let KeyMaterial::Hs256(secret) = &request.key.material else { return Err("a public key cannot sign".to_owned()) };
    Ok(format!(
        "{}/{}/{}/{:?}/{}/{}",
        request.key.id,
        secret.expose().len(),
        request.identity,
        request.role,
        request.room,
        request.valid_for.as_secs()
    ))
}

struct Run {
    code: u8,
    out: String,
    err: String,
}

fn colloque(words: &[&str]) -> Run {
    let rooms = Rooms { log: |_, _| (), memory: || (), serve: served, mint: signed };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let words = std::iter::once("colloque").chain(words.iter().copied()).map(OsString::from);
    let code = run(words, &rooms, &mut out, &mut err);
    Run { code, out: String::from_utf8(out).expect("text"), err: String::from_utf8(err).expect("text") }
}

/// The same as code, output and errors.
pub(super) fn told(words: &[&str]) -> (u8, String, String) {
    let Run { code, out, err } = colloque(words);
    (code, out, err)
}

const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn usage_errors_are_one_line_and_64() {
    let cases: &[&[&str]] = &[
        &[],
        &["fly"],
        &["serve", "--prot", "1"],
        &["serve", "--port", "abc"],
        &["serve", "--port", "0"],
        &["serve", "--bind", "localhost"],
        &["token", "create", "--room", "r"],
        &["token", "create", "--room", "r", "--identity", "i"],
        &["token", "create", "--room", "r", "--identity", "i", "--dev", "--role", "king"],
        &["token", "create", "--room", "r", "--identity", "i", "--dev", "--valid-for", "1y"],
        &["token", "create", "--room", "r", "--identity", "i", "--dev", "--key", "clinic"],
        &["token", "create", "--room", "r\n", "--identity", "i", "--dev"],
        &["serve", "--dev", "--key", "nocolon"],
        &["serve", "a\nb"],
    ];
    for words in cases {
        let run = colloque(words);
        let last = run.err.lines().last().unwrap_or_default();
        assert_eq!(run.code, EXIT_USAGE, "{words:?}: {}", run.err);
        assert!(last.starts_with("colloque: ") && run.out.is_empty(), "{words:?}: {}", run.err);
        assert!(run.err.lines().count() == 1, "{words:?}: {}", run.err);
    }
}

#[test]
fn configuration_errors_are_one_line_and_78() {
    let cases: &[&[&str]] = &[
        &["serve"],
        &["serve", "--config", "/nowhere/colloque.toml"],
        &["serve", "--key", "a:short"],
        &["serve", "--advertise", "0.0.0.0", "--dev"],
        &["check-config"],
        &["check-config", "--config", "/nowhere/colloque.toml"],
        &["token", "create", "--room", "r", "--identity", "i", "--key", "k", "--secret-file", "/nowhere/secret"],
    ];
    for words in cases {
        let run = colloque(words);
        assert_eq!((run.code, run.err.lines().count()), (EXIT_CONFIG, 1), "{words:?}: {}", run.err);
    }
}

#[test]
fn no_error_repeats_the_secret_of_a_key() {
    for words in [["--key", ":hunter2"], ["--key", "hunter2"], ["--key", "k:hunter2"], ["--key=devkey:hunter2", "--dev"]] {
        let run = colloque(&["serve", words[0], words[1]]);
        assert!(run.code != 0 && !run.err.contains("hunter2"), "{words:?}: {}", run.err);
    }
}

#[test]
fn dev_mode_serves_http_on_the_loopback_and_media_everywhere_and_says_so() {
    let run = colloque(&["serve", "--dev"]);
    assert!(run.err.contains("DEV MODE"), "{}", run.err);
    assert!(run.err.contains("Dev http [127.0.0.1]:7880 udp [0.0.0.0, ::]:[7882] advertise []"), "{}", run.err);
    assert!(run.err.contains(r#"["devkey", "clinic"]"#), "{}", run.err);
}

#[test]
fn words_win_over_defaults() {
    let key = format!("k:{SECRET}");
    let run = colloque(&[
        "serve",
        "--bind",
        "127.0.0.1",
        "--bind",
        "::1",
        "--port",
        "80",
        "--udp-port",
        "81",
        "--advertise",
        "192.0.2.1",
        "--key",
        &key,
    ]);
    let expected = r#"Production http [127.0.0.1, ::1]:80 udp [127.0.0.1, ::1]:[81] advertise [192.0.2.1] keys ["k"]"#;
    assert_eq!(run.err, format!("colloque: {expected}\n"));
    assert_eq!(run.code, EXIT_CONFIG, "a taken port is a matter of configuration");
}

#[test]
fn tokens_are_signed_with_the_key_that_was_named() {
    let run = colloque(&["token", "create", "--room", "demo", "--identity", "p1", "--role", "patient", "--dev"]);
    assert_eq!((run.code, run.out.as_str()), (0, "devkey/6/p1/Some(Patient)/demo/900\n"), "{}", run.err);
    let run = colloque(&["token", "create", "--room", "demo", "--identity", "p1", "--dev", "--valid-for", "2h"]);
    assert_eq!(run.out, "devkey/6/p1/None/demo/7200\n");
}

#[test]
fn help_and_version_are_answers() {
    for words in [["--help"], ["version"]] {
        let run = colloque(&words);
        assert!(run.code == 0 && run.err.is_empty() && run.out.contains("olloque"), "{words:?}: {}", run.err);
    }
    assert!(colloque(&["serve", "--help"]).out.contains("--udp-port"));
}
