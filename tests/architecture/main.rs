//! Reads the sources and keeps the house in order: who may use whom, what the lower floors never touch, how long a file and
//! a function may be. Every rule is fed a snippet that breaks it, so that a rule that cannot fail is found.
//!
//! `scan` turns a source into plain code, `rules` looks at it, this file applies the rules to the tree.

mod catalogue;
mod rules;
mod scan;

use rules::{LONGEST_FILE, LONGEST_FUNCTION};
use scan::Source;
use std::fs;
use std::path::{Path, PathBuf};

/// Functions that are longer than the rule, with the reason. The list may only shrink: an entry that is no longer needed
/// fails the test, and so does an entry whose function grew beyond the length written here.
const LONG_FUNCTIONS: &[(&str, &str, usize, &str)] = &[];

/// Files that are longer than the rule, with the reason; it shrinks like the list above.
const LONG_FILES: &[(&str, usize, &str)] = &[];

/// Imports that break the table, as file and path, with the reason; it shrinks like the lists above.
const IMPORTS: &[(&str, &str, &str)] = &[];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a folder that is ours: neither built nor downloaded.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    const NOT_OURS: [&str; 8] = ["target", ".git", "node_modules", "dist", ".build", ".venv", "__pycache__", ".pytest_cache"];
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let kind = entry.file_type().expect("an entry has a kind");
        if kind.is_dir() && !NOT_OURS.contains(&entry.file_name().to_string_lossy().as_ref()) {
            files(&path, found);
        } else if kind.is_file() {
            found.push(path);
        }
    }
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).expect("below the root").to_string_lossy().replace('\\', "/")
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    files(&root().join("src"), &mut found);
    found.sort();
    let rust = found.iter().filter(|path| path.extension().is_some_and(|end| end == "rs"));
    let texts: Vec<_> = rust.map(|path| (relative(path), fs::read_to_string(path).expect("UTF-8"))).collect();
    let tests: Vec<_> = texts.iter().flat_map(|(path, text)| scan::test_modules(path, text)).collect();
    let for_tests = |path: &str| {
        tests.iter().any(|test| path.strip_prefix(test.as_str()).is_some_and(|rest| rest == ".rs" || rest.starts_with('/')))
    };
    let sources: Vec<_> = texts.iter().map(|(path, text)| Source::told(path, text, for_tests(path))).collect();
    assert!(sources.len() >= 10, "positive control: the sources are found");
    sources
}

fn report(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}\n{}", broken.join("\n"));
}

/// Compares what breaks a rule with its allow-list: nothing new, nothing grown, nothing left over.
fn ratchet(broken: &[(String, usize)], allowed: &[(String, usize)]) -> Vec<String> {
    let new = broken.iter().filter_map(|(what, size)| match allowed.iter().find(|(name, _)| name == what) {
        None => Some(format!("{what}: {size} lines")),
        Some((_, most)) if size > most => Some(format!("{what}: grew from {most} to {size} lines")),
        Some(_) => None,
    });
    let left_over = allowed.iter().filter(|(name, _)| !broken.iter().any(|(what, _)| what == name));
    new.chain(left_over.map(|(name, _)| format!("{name}: no longer needed in the allow-list; take it out"))).collect()
}

#[test]
fn rooms_use_only_rooms_below_them() {
    let mut used = vec![false; IMPORTS.len()];
    let mut broken = Vec::new();
    for source in sources() {
        for (path, line) in rules::forbidden_imports(&source) {
            match IMPORTS.iter().position(|(file, import, _)| *file == source.path && *import == path) {
                Some(entry) => used[entry] = true,
                None => broken.push(format!("{}:{line}: {path}", source.path)),
            }
        }
    }
    let left_over = IMPORTS.iter().zip(&used).filter(|(_, used)| !**used);
    broken
        .extend(left_over.map(|((file, path, _), _)| format!("{file}: {path}: no longer needed in the allow-list; take it out")));
    report("an arrow of the house points up or sideways:", &broken);
}

#[test]
fn the_lower_floors_have_no_clock_socket_lock_or_runtime() {
    let broken: Vec<_> = sources().iter().flat_map(rules::impurities).collect();
    report("a lower floor touches what only the doors may:", &broken);
}

#[test]
fn only_transport_names_the_webrtc_crates() {
    let broken: Vec<_> = sources().iter().flat_map(rules::stack_names).collect();
    report("the WebRTC crates stand behind transport:", &broken);
}

#[test]
fn files_are_short() {
    let long: Vec<_> = sources().iter().filter(|s| s.lines() > LONGEST_FILE).map(|s| (s.path.clone(), s.lines())).collect();
    let allowed: Vec<_> = LONG_FILES.iter().map(|(file, most, _)| ((*file).to_owned(), *most)).collect();
    report("split by reason to change (lines without tests):", &ratchet(&long, &allowed));
}

#[test]
fn functions_are_short() {
    let sources = sources();
    let long = sources.iter().flat_map(|source| {
        let long = rules::functions(source).into_iter().filter(|(_, lines)| *lines > LONGEST_FUNCTION);
        long.map(|(name, lines)| (format!("{}: {name}", source.path), lines)).collect::<Vec<_>>()
    });
    let long: Vec<_> = long.collect();
    let allowed: Vec<_> = LONG_FUNCTIONS.iter().map(|(file, name, most, _)| (format!("{file}: {name}"), *most)).collect();
    report("give the parts names of their own:", &ratchet(&long, &allowed));
}

#[test]
fn events_that_are_never_written_are_the_documented_ones() {
    let read = |path: &str| fs::read_to_string(root().join(path)).expect("UTF-8");
    let declared = catalogue::declared(&read("src/audit/event.rs"));
    assert!(declared.len() > 80, "positive control: the catalogue is found");
    let sources = sources();
    let code = || sources.iter().filter(|source| !["src/audit/event.rs", "src/audit/samples.rs"].contains(&source.path.as_str()));
    let unmade = |variant: &str| !code().any(|source| catalogue::makes(source, variant));
    let mut never: Vec<_> = declared.iter().filter(|(variant, _)| unmade(variant)).map(|(_, name)| name.clone()).collect();
    never.sort();
    assert_eq!(
        never,
        catalogue::documented(&read("docs/audit.md")),
        "left: never made in src/; right: the list in docs/audit.md"
    );
}

#[test]
fn making_an_event_is_told_from_looking_for_one() {
    let makes = |text: &str| catalogue::makes(&Source::new("src/node/x.rs", text), "RoomLocked");
    for made in
        ["f(Event::RoomLocked {})", "let e = Event::RoomLocked { by: By { a } };", "Some((seat, Event::RoomLocked { by }))"]
    {
        assert!(makes(made), "{made}");
    }
    for sought in [
        "matches!(e, Event::RoomLocked { .. })",
        "Event::RoomLocked { by } => 1",
        "let Some(Event::RoomLocked { by }) = e",
        "// Event::RoomLocked {}",
    ] {
        assert!(!makes(sought), "{sought}");
    }
}

#[test]
fn no_file_names_a_registry() {
    let mut found = Vec::new();
    files(root(), &mut found);
    let mut broken = Vec::new();
    let mut read = 0;
    for path in found {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        read += 1;
        broken.extend(rules::registry_hosts(&relative(&path), &text));
    }
    assert!(read > 20, "positive control: files are read");
    report("where packages come from is the machine's business:", &broken);
}

#[test]
fn the_ratchet_turns_one_way() {
    let at = |name: &str, lines| (name.to_owned(), lines);
    assert!(ratchet(&[at("a", 70)], &[at("a", 70)]).is_empty());
    assert!(ratchet(&[at("a", 65)], &[at("a", 70)]).is_empty(), "shrinking is welcome");
    assert!(ratchet(&[at("a", 71)], &[at("a", 70)])[0].contains("grew"));
    assert!(ratchet(&[at("b", 61)], &[])[0].contains("b: 61"));
    assert!(ratchet(&[], &[at("a", 70)])[0].contains("no longer needed"));
}

/// The files with `unsafe` in them, and how often: their own texts give the measured reasons.
const UNSAFE: [(&str, usize); 3] =
    [("src/media/ahead.rs", 2), ("src/transport/srtp/aead.rs", 8), ("src/transport/srtp/hmac/lanes.rs", 2)];

#[test]
fn unsafe_stays_where_it_is() {
    let uses =
        |source: &Source| source.code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| *word == "unsafe").count();
    let found: Vec<_> =
        sources().iter().map(|source| (source.path.clone(), uses(source))).filter(|(_, count)| *count > 0).collect();
    let known = UNSAFE.map(|(path, count)| (path.to_owned(), count));
    assert_eq!(found, known, "the list may only shrink");
}
