//! Configuration errors: one line that names the place, the key, the value (never a secret's) and the remedy.

use super::keys;
use std::fmt;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// Longest piece of a value repeated in an error, in characters: enough to recognise it in the file.
const LONGEST_VALUE: usize = 60;

/// Why a configuration is refused; its text is one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A file could not be read.
    #[error("{place}: cannot be read: {reason}; check the path and its permissions")]
    Unreadable {
        /// The file.
        place: String,
        /// What the system says.
        reason: String,
    },
    /// The file is not TOML.
    #[error("{place}: not valid TOML: {reason}; compare with config/colloque.toml")]
    Syntax {
        /// File and line.
        place: String,
        /// What the parser says, without the text of the file.
        reason: String,
    },
    /// A key is wrong.
    #[error("{place}: {key}{}: {problem}; {remedy}", Shown(.value.as_deref()))]
    Key {
        /// File and line, or where else the value came from.
        place: String,
        /// Path of the key.
        key: String,
        /// Its value, where it may be shown.
        value: Option<String>,
        /// What is wrong with it.
        problem: String,
        /// What to write instead.
        remedy: String,
    },
    /// The system gave no random bytes for the secret of a dev tenant.
    #[error("no random bytes from the system; dev mode needs them for its clinic tenant")]
    NoRandom,
}

struct Shown<'a>(Option<&'a str>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |value| write!(f, " = {value}"))
    }
}

impl ConfigError {
    pub(super) fn unreadable(place: &str, reason: &str) -> Self {
        Self::Unreadable { place: printable(place), reason: printable(reason) }
    }
}

/// A rule that a value breaks, before its place in the file is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Path with list positions, for example `tenants[1].keys[0].id`.
    path: String,
    value: Option<String>,
    expected: String,
    remedy: String,
}

impl Fault {
    pub(super) fn new(path: impl Into<String>, value: Option<String>, expected: &str, remedy: &str) -> Self {
        Self { path: path.into(), value, expected: expected.to_owned(), remedy: remedy.to_owned() }
    }

    /// A fault explained by the key's own entry in the table of keys.
    pub(super) fn of(path: impl Into<String>, value: Option<String>) -> Self {
        let path = path.into();
        let (expected, remedy) = described(&pattern(&path));
        Self { path, value, expected, remedy }
    }
}

/// The text an error is about, and what to call it.
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    pub(super) place: &'a str,
}

impl Source<'_> {
    /// Explains what the TOML reader refused.
    pub(super) fn explain(&self, error: &toml::de::Error) -> ConfigError {
        let span = error.span().unwrap_or(0..0);
        let Ok(table) = DeTable::parse(self.text) else {
            let reason = error.message().lines().next().unwrap_or("unreadable");
            return ConfigError::Syntax { place: self.line(span.start), reason: printable(reason) };
        };
        let mut nodes = Vec::new();
        walk(table.get_ref(), "", &mut nodes);
        let found = nodes
            .iter()
            .flat_map(|node| [(node, true, &node.key), (node, false, &node.value)])
            .filter(|(_, _, place)| place.start <= span.start && span.end <= place.end)
            .min_by_key(|(_, _, place)| place.len());
        let Some((node, is_key, _)) = found else {
            return ConfigError::Syntax { place: self.line(span.start), reason: "a key or value of the wrong kind".to_owned() };
        };
        let path = pattern(&node.path);
        if keys::find(&path).is_none() && is_key {
            return self.unknown(&node.path, span.start);
        }
        let (expected, remedy) = described(&path);
        let value = (!keys::is_secret(&path)).then(|| self.text.get(span.clone())).flatten().map(shortened);
        ConfigError::Key {
            place: self.line(span.start),
            key: printable(&node.path),
            value,
            problem: format!("expected {expected}"),
            remedy,
        }
    }

    /// Finds the line of a key that breaks a rule.
    pub(super) fn locate(&self, fault: Fault) -> ConfigError {
        let mut nodes = Vec::new();
        if let Ok(table) = DeTable::parse(self.text) {
            walk(table.get_ref(), "", &mut nodes);
        }
        let place = nodes
            .iter()
            .filter(|node| {
                let rest = fault.path.strip_prefix(node.path.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            })
            .max_by_key(|node| node.path.len())
            .map_or_else(|| printable(self.place), |node| self.line(node.key.start));
        ConfigError::Key {
            place,
            key: printable(&fault.path),
            value: fault.value.as_deref().map(shortened),
            problem: format!("expected {}", fault.expected),
            remedy: fault.remedy,
        }
    }

    fn unknown(&self, path: &str, at: usize) -> ConfigError {
        let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
        let parent_pattern = pattern(parent);
        let known: Vec<_> = keys::under(&parent_pattern).collect();
        let nearest = known.iter().map(|key| (distance(key, name), *key)).min();
        let remedy = match nearest {
            Some((steps, key)) if steps <= 3 => format!("did you mean {key}?"),
            _ => format!("known here: {}", known.join(", ")),
        };
        ConfigError::Key { place: self.line(at), key: shortened(path), value: None, problem: "no such key".to_owned(), remedy }
    }

    fn line(&self, at: usize) -> String {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("{}:{line}", printable(self.place))
    }
}

/// A key of the file and where it and its value stand.
struct Node {
    path: String,
    key: Range<usize>,
    value: Range<usize>,
}

fn walk(table: &DeTable<'_>, parent: &str, nodes: &mut Vec<Node>) {
    for (name, value) in table {
        let path = if parent.is_empty() { name.get_ref().to_string() } else { format!("{parent}.{}", name.get_ref()) };
        nodes.push(Node { path: path.clone(), key: name.span(), value: value.span() });
        walk_value(value.get_ref(), &path, nodes);
    }
}

fn walk_value(value: &DeValue<'_>, path: &str, nodes: &mut Vec<Node>) {
    if let Some(table) = value.as_table() {
        walk(table, path, nodes);
    }
    for (at, item) in value.as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}[{at}]");
        nodes.push(Node { path: path.clone(), key: item.span(), value: item.span() });
        walk_value(item.get_ref(), &path, nodes);
    }
}

/// A path without its list positions.
fn pattern(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut inside = false;
    for character in path.chars() {
        match character {
            '[' => inside = true,
            ']' => inside = false,
            _ if !inside => out.push(character),
            _ => {}
        }
    }
    out
}

fn described(path: &str) -> (String, String) {
    keys::find(path).map_or_else(
        || ("a known key".to_owned(), "compare with config/colloque.toml".to_owned()),
        |key| (key.expected.to_owned(), format!("write {}", key.example)),
    )
}

fn shortened(value: &str) -> String {
    let text: String = value.chars().take(LONGEST_VALUE).collect();
    let cut = if text.len() < value.len() { "…" } else { "" };
    printable(&(text + cut))
}

/// Makes a text fit one line of a terminal: control characters become escapes.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|character| {
            let escaped = character.is_control().then(|| character.escape_default());
            escaped.into_iter().flatten().chain((!character.is_control()).then_some(character))
        })
        .collect()
}

/// Levenshtein distance; both sides are cut to 40 bytes, which bounds the work.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<_> = left.bytes().take(40).collect();
    let mut row: Vec<usize> = (0..=left.len()).collect();
    for (at, other) in right.bytes().take(40).enumerate() {
        let mut diagonal = at;
        row[0] = at + 1;
        for (column, own) in left.iter().enumerate() {
            let step = (row[column] + 1).min(row[column + 1] + 1).min(diagonal + usize::from(*own != other));
            diagonal = row[column + 1];
            row[column + 1] = step;
        }
    }
    row.last().copied().unwrap_or(0)
}
