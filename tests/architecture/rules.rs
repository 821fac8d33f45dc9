//! The rules of the house, each with a snippet that breaks it.

use super::scan::{Source, Token};

/// Longest file in lines without tests: what one can keep in mind while changing it.
pub(crate) const LONGEST_FILE: usize = 600;

/// Longest function in lines, signature and braces included: what fits one screen.
pub(crate) const LONGEST_FUNCTION: usize = 60;

/// Which rooms each room may use, besides itself. `node` and `cli` put the house together and may use every room.
const TABLE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("media", &["model"]),
    ("auth", &["model"]),
    ("audit", &["model"]),
    ("consultation", &["model", "audit"]),
    ("transport", &["model", "media"]),
    ("relay", &["media", "transport", "consultation", "audit", "model"]),
    ("wire", &["model", "relay"]),
    ("worker", &["relay", "model", "audit", "telemetry"]),
    ("signal", &["model", "auth", "relay", "wire", "telemetry"]),
    ("api", &["model", "auth", "relay", "wire", "telemetry"]),
    ("cluster", &["model", "relay", "telemetry"]),
    ("web", &["api", "signal", "telemetry"]),
    ("telemetry", &["model"]),
    ("config", &["model", "relay", "telemetry"]),
    ("sandbox", &[]),
    ("node", EVERYTHING),
    ("cli", EVERYTHING),
];

const EVERYTHING: &[&str] = &["*"];

/// Rooms that see only the words of the relay, never its workings.
const SPEAK_TO_RELAY: [&str; 4] = ["wire", "signal", "api", "config"];

/// The words of the relay.
const RELAY_WORDS: [&str; 3] = ["command", "event", "envelope"];

/// The ground floor and the first floor.
const LOWER_FLOORS: [&str; 7] = ["model", "media", "auth", "audit", "consultation", "transport", "relay"];

/// What the lower floors never name, as the last words of a path, and why.
const IMPURE: &[(&[&str], &str)] = &[
    (&["tokio"], "no runtime"),
    (&["UdpSocket"], "no sockets"),
    (&["TcpStream"], "no sockets"),
    (&["TcpListener"], "no sockets"),
    (&["mio"], "no sockets"),
    (&["Instant", "now"], "time is an argument"),
    (&["SystemTime", "now"], "time is an argument"),
    (&["SystemTime", "UNIX_EPOCH"], "time is an argument"),
    (&["Mutex"], "no locks"),
    (&["RwLock"], "no locks"),
    (&["Condvar"], "no locks"),
    (&["dashmap"], "no shared maps"),
    (&["DashMap"], "no shared maps"),
    (&["println"], "no output"),
    (&["eprintln"], "no output"),
    (&["thread", "spawn"], "no threads"),
    (&["thread", "sleep"], "no threads"),
];

/// Imports of a file that the table does not allow, with their lines.
pub(crate) fn forbidden_imports(source: &Source) -> Vec<(String, usize)> {
    let module = source.module();
    let Some(room) = module.first() else { return Vec::new() };
    let Some((_, allowed)) = TABLE.iter().find(|(name, _)| name == room) else {
        return vec![(format!("{room} is not a room of the table"), 1)];
    };
    let mut broken = Vec::new();
    for (path, line) in house_paths(source) {
        let Some(target) = path.first() else { continue };
        if target == room || *allowed == EVERYTHING && TABLE.iter().any(|(name, _)| name == target) {
            continue;
        }
        let word = path.get(1).map_or("*", String::as_str);
        let inner_relay = target == "relay" && SPEAK_TO_RELAY.contains(room) && !RELAY_WORDS.contains(&word);
        if !allowed.contains(&target.as_str()) || inner_relay {
            broken.push((path.join("::"), line));
        }
    }
    broken
}

/// Every path into the house, `crate::` and `super::` resolved, groups taken apart.
fn house_paths(source: &Source) -> Vec<(Vec<String>, usize)> {
    let tokens = source.tokens();
    let mut paths = Vec::new();
    let mut inline: Vec<(&str, usize)> = Vec::new();
    let (mut depth, mut at) = (0_usize, 0);
    while let Some((token, line)) = tokens.get(at).copied() {
        match token {
            Token::Other('{') => depth += 1,
            Token::Other('}') => {
                depth = depth.saturating_sub(1);
                inline.retain(|(_, opened)| *opened <= depth);
            }
            Token::Word("mod") => {
                if let (Some((Token::Word(name), _)), Some((Token::Other('{'), _))) = (tokens.get(at + 1), tokens.get(at + 2)) {
                    inline.push((name, depth + 1));
                }
            }
            Token::Word(word @ ("crate" | "super")) if tokens.get(at + 1).is_some_and(|(next, _)| *next == Token::Colons) => {
                let mut base: Vec<String> = Vec::new();
                if word == "super" {
                    base.extend(source.module().iter().copied().chain(inline.iter().map(|(name, _)| *name)).map(str::to_owned));
                    base.pop();
                }
                at = tree(&tokens, at + 2, &base, line, &mut paths);
                continue;
            }
            Token::Word(_) | Token::Colons | Token::Other(_) => {}
        }
        at += 1;
    }
    paths
}

/// Reads a use tree or path behind its first `::`; says where it ends.
fn tree(
    tokens: &[(Token<'_>, usize)],
    mut at: usize,
    base: &[String],
    line: usize,
    paths: &mut Vec<(Vec<String>, usize)>,
) -> usize {
    let mut path = base.to_vec();
    loop {
        match tokens.get(at).map(|(token, _)| *token) {
            Some(Token::Word("super")) => {
                path.pop();
                at += 1;
            }
            Some(Token::Word("self")) => at += 1,
            Some(Token::Word(word)) => {
                path.push(word.to_owned());
                at += 1;
            }
            Some(Token::Other('{')) => {
                at += 1;
                while !matches!(tokens.get(at).map(|(token, _)| *token), None | Some(Token::Other('}'))) {
                    let end = tree(tokens, at, &path, line, paths);
                    // `as name` and commas stand between two branches.
                    at = end.max(at + 1);
                    while matches!(tokens.get(at).map(|(token, _)| *token), Some(Token::Other(',') | Token::Word("as" | "_"))) {
                        at += if matches!(tokens[at].0, Token::Word("as")) { 2 } else { 1 };
                    }
                }
                return at + 1;
            }
            _ => {
                paths.push((path, line));
                return at;
            }
        }
        if tokens.get(at).map(|(token, _)| *token) != Some(Token::Colons) {
            paths.push((path, line));
            return at;
        }
        at += 1;
    }
}

/// What a lower floor names and must not.
pub(crate) fn impurities(source: &Source) -> Vec<String> {
    let module = source.module();
    if !module.first().is_some_and(|room| LOWER_FLOORS.contains(room)) {
        return Vec::new();
    }
    let tokens = source.tokens();
    let mut broken = Vec::new();
    for at in 0..tokens.len() {
        for (words, reason) in IMPURE {
            let mut expected = Vec::new();
            for word in *words {
                if !expected.is_empty() {
                    expected.push(Token::Colons);
                }
                expected.push(Token::Word(word));
            }
            let here = tokens[at..].iter().map(|(token, _)| *token).take(expected.len());
            if here.eq(expected) {
                broken.push(format!("{}:{}: {}: {reason}", source.path, tokens[at].1, words.join("::")));
            }
        }
    }
    broken
}

/// Where a file outside transport names a crate of the WebRTC stack.
pub(crate) fn stack_names(source: &Source) -> Vec<String> {
    if source.module().first() == Some(&"transport") {
        return Vec::new();
    }
    let tokens = source.tokens();
    let is_crate = |at: usize| {
        let path = tokens.get(at + 1).is_some_and(|(next, _)| *next == Token::Colons);
        path || at > 0 && matches!(tokens[at - 1].0, Token::Word("use" | "crate"))
    };
    let named = tokens.iter().enumerate().filter_map(|(at, (token, line))| match token {
        Token::Word(word) if word.starts_with("rtc_") && is_crate(at) => Some(format!("{}:{line}: {word}", source.path)),
        Token::Word(_) | Token::Colons | Token::Other(_) => None,
    });
    named.collect()
}

/// Functions with their lengths in lines, from the line of `fn` to the closing brace.
pub(crate) fn functions(source: &Source) -> Vec<(String, usize)> {
    let tokens = source.tokens();
    let mut found = Vec::new();
    for (at, (token, first)) in tokens.iter().enumerate() {
        let (Token::Word("fn"), Some((Token::Word(name), _))) = (token, tokens.get(at + 1)) else { continue };
        let (mut depth, mut brackets) = (0_usize, 0_usize);
        for (token, line) in &tokens[at..] {
            match token {
                Token::Other('(' | '[') => brackets += 1,
                Token::Other(')' | ']') => brackets = brackets.saturating_sub(1),
                Token::Other('{') => depth += 1,
                Token::Other('}') if depth == 1 => {
                    found.push(((*name).to_owned(), line - first + 1));
                    break;
                }
                Token::Other('}') => depth = depth.saturating_sub(1),
                Token::Other(';') if depth == 0 && brackets == 0 => break,
                Token::Word(_) | Token::Colons | Token::Other(_) => {}
            }
        }
    }
    found
}

/// Names of package registries and of options that choose one. A lock file may say that a crate is from crates.io, which
/// is how cargo names every registry it is told to use in its place.
pub(crate) fn registry_hosts(path: &str, text: &str) -> Vec<String> {
    let hosts = [
        ["registry.", "npmjs.org"].concat(),
        ["registry.", "yarnpkg.com"].concat(),
        ["pypi", ".org"].concat(),
        ["files.pythonhosted", ".org"].concat(),
        ["static.crates", ".io"].concat(),
        ["index.crates", ".io"].concat(),
        ["proxy.golang", ".org"].concat(),
        ["arti", "factory"].concat(),
        ["--index", "-url"].concat(),
        ["--extra-index", "-url"].concat(),
        ["replace", "-with"].concat(),
        ["sparse", "+http"].concat(),
    ];
    let mut broken = Vec::new();
    for (number, line) in text.lines().enumerate() {
        broken.extend(
            hosts.iter().filter(|host| line.contains(host.as_str())).map(|host| format!("{path}:{}: {host}", number + 1)),
        );
        let foreign = path.ends_with("Cargo.lock")
            && line.starts_with("source = ")
            && line != "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
        if foreign {
            broken.push(format!("{path}:{}: {line}", number + 1));
        }
    }
    broken
}

fn imports(path: &str, text: &str) -> Vec<String> {
    forbidden_imports(&Source::new(path, text)).into_iter().map(|(path, _)| path).collect()
}

#[test]
fn an_arrow_that_points_up_is_found() {
    assert_eq!(imports("src/media/x.rs", "use crate::transport::Peer;"), ["transport::Peer"]);
    assert_eq!(imports("src/media/x.rs", "fn a() { crate::relay::b(); }"), ["relay::b"]);
    assert_eq!(imports("src/media/x.rs", "use super::super::auth::Key;"), ["auth::Key"]);
    assert_eq!(imports("src/model.rs", "use super::media;"), ["media"]);
    assert_eq!(imports("src/auth/x.rs", "mod inner { use super::super::super::relay::A; use super::b; }"), ["relay::A"]);
    assert_eq!(
        imports("src/signal/x.rs", "use crate::{model::Codec, worker::Pool as P, relay::{command, shard::{Shard, B}}, wire};"),
        ["worker::Pool", "relay::shard::Shard", "relay::shard::B"]
    );
    assert_eq!(imports("src/consultation/x.rs", "use crate::relay::command::Policy;"), ["relay::command::Policy"]);
    assert_eq!(imports("src/api/x.rs", "use crate::config::Config;"), ["config::Config"]);
    assert_eq!(imports("src/attic/x.rs", "").len(), 1, "a room nobody planned");
}

#[test]
fn an_arrow_that_points_down_is_fine() {
    assert!(imports("src/relay/command.rs", "use super::event::E; use crate::model::{self, roster::Role};").is_empty());
    assert!(imports("src/signal/x.rs", "use crate::relay::command::{Command, Join}; use crate::auth;").is_empty());
    assert!(imports("src/node.rs", "use crate::{signal, worker};").is_empty());
    assert!(imports("src/media/x.rs", "// crate::relay\n#[cfg(test)]\nmod tests { use crate::relay::A; }").is_empty());
    assert!(imports("src/media/x.rs", "pub(crate) fn a() {} pub(super) fn b() {}").is_empty());
}

#[test]
fn an_impure_lower_floor_is_found() {
    let found = |path: &str, text: &str| impurities(&Source::new(path, text)).len();
    let snippets = [
        "use tokio::time;",
        "use std::net::UdpSocket;",
        "use std::net::{SocketAddr, TcpStream};",
        "let t = Instant::now();",
        "let t = std::time::SystemTime::now();",
        "use std::sync::{Arc, Mutex};",
        "a: std::sync::RwLock<u8>,",
        "use dashmap::DashMap;",
        "println!();",
    ];
    for snippet in snippets {
        for room in LOWER_FLOORS {
            assert!(found(&format!("src/{room}/x.rs"), snippet) > 0, "{room}: {snippet}");
        }
        assert_eq!(found("src/worker/x.rs", snippet), 0, "a door may");
        assert_eq!(found("src/media/x.rs", &format!("// {snippet}")), 0, "a comment may");
        assert_eq!(found("src/media/x.rs", &format!("#[cfg(test)]\nmod tests {{ {snippet} }}")), 0, "a test may");
    }
    assert_eq!(found("src/media/x.rs", "use std::time::{Duration, Instant}; let now = at;"), 0, "a time that is given");
}

#[test]
fn a_stack_name_outside_transport_is_found() {
    let found = |path: &str, text: &str| stack_names(&Source::new(path, text)).len();
    assert_eq!(found("src/relay/x.rs", "use rtc_dtls::config;"), 1);
    assert_eq!(found("src/cli.rs", "let a = rtc_sdp::parse();"), 1);
    assert_eq!(found("src/transport/x.rs", "use rtc_dtls::config;"), 0);
    assert_eq!(found("src/relay/x.rs", "let rtc_min = 1; // rtc_sdp::a"), 0);
}

#[test]
fn the_length_of_a_function_is_measured() {
    let text = format!(
        "trait A {{\n    fn none(a: [u8; 2]);\n}}\nfn long(a: [u8; 2]) -> u8 {{\n{}}}\nfn short() {{}}\n",
        "    if a { b(\"}\") }\n".repeat(70)
    );
    let found = functions(&Source::new("src/x.rs", &text));
    assert_eq!(found, [("long".to_owned(), 72), ("short".to_owned(), 1)]);
    assert!(found[0].1 > LONGEST_FUNCTION);
}

#[test]
fn a_long_file_is_measured_without_its_tests() {
    let text = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", "a();\n".repeat(601), "b();\n".repeat(50));
    assert_eq!(Source::new("src/x.rs", &text).lines(), 601);
}

#[test]
fn a_registry_is_found() {
    let npm = format!("\"resolved\": \"https://{}/a\"", ["registry.", "npmjs.org"].concat());
    assert_eq!(registry_hosts("web/package-lock.json", &npm).len(), 1);
    assert_eq!(registry_hosts("Cargo.lock", "source = \"git+https://example.org/a\"").len(), 1);
    assert_eq!(registry_hosts("Cargo.lock", "source = \"registry+https://github.com/rust-lang/crates.io-index\"").len(), 0);
}
