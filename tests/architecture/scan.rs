//! Turns a Rust source into plain code: comments, literals and test modules become blanks, line numbers stay.
//!
//! It is no parser and need not be: it knows just enough of the language to find words, braces and paths.

/// A source, ready for the rules.
pub(crate) struct Source {
    /// Its path from the root, with `/`.
    pub(crate) path: String,
    /// Its code.
    pub(crate) code: String,
    /// Lines of test modules.
    test_lines: usize,
    /// Whether the whole file is a test module.
    is_test: bool,
}

/// A word, a path separator, or any other character that is no blank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    Word(&'a str),
    Colons,
    Other(char),
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self::told(path, text, false)
    }

    /// A source of which its parent module says whether it is for tests only.
    pub(crate) fn told(path: &str, text: &str, is_test: bool) -> Self {
        let (code, test_lines) = without_tests(&blanked(text));
        Self { path: path.to_owned(), code: if is_test { String::new() } else { code }, test_lines, is_test }
    }

    /// Lines without test modules.
    pub(crate) fn lines(&self) -> usize {
        if self.is_test { 0 } else { self.code.lines().count() - self.test_lines }
    }

    /// The path of modules the file stands for; empty for `lib.rs` and `main.rs`.
    pub(crate) fn module(&self) -> Vec<&str> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        let mut parts: Vec<_> = path.split('/').collect();
        if matches!(parts.last(), Some(&"mod" | &"lib" | &"main")) {
            parts.pop();
        }
        parts
    }

    /// Tokens with the lines they stand on, counted from 1.
    pub(crate) fn tokens(&self) -> Vec<(Token<'_>, usize)> {
        let mut tokens = Vec::new();
        for (number, line) in self.code.lines().enumerate() {
            let mut rest = line;
            while let Some(first) = rest.chars().next() {
                let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
                let (token, length) = if word > 0 {
                    (Some(Token::Word(&rest[..word])), word)
                } else if rest.starts_with("::") {
                    (Some(Token::Colons), 2)
                } else {
                    ((!first.is_whitespace()).then_some(Token::Other(first)), first.len_utf8())
                };
                tokens.extend(token.map(|token| (token, number + 1)));
                rest = &rest[length..];
            }
        }
        tokens
    }
}

/// The modules in files of their own that a file declares for tests only, as paths without `.rs`.
pub(crate) fn test_modules(path: &str, text: &str) -> Vec<String> {
    let code = blanked(text);
    let stem = path.trim_end_matches(".rs");
    let folder = match stem.rsplit_once('/') {
        Some((folder, "mod" | "lib" | "main")) => folder,
        _ => stem,
    };
    let marked = code.split("#[cfg(test)]").skip(1).filter_map(|rest| rest.split_once(';'));
    let names = marked.filter_map(|(item, _)| {
        let words: Vec<_> = item.split_ascii_whitespace().collect();
        words.iter().position(|word| *word == "mod").filter(|at| at + 2 == words.len()).map(|at| words[at + 1])
    });
    names.map(|name| format!("{folder}/{name}")).collect()
}

/// Replaces comments and literals by blanks.
fn blanked(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end > at {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        } else {
            out.push(chars[at]);
            at += 1;
        }
    }
    out
}

/// Where the comment or literal that begins at `at` ends; `at` itself where none begins.
fn literal_end(chars: &[char], at: usize) -> usize {
    let next = |ahead: usize| chars.get(at + ahead).copied().unwrap_or('\0');
    let in_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match (chars[at], next(1)) {
        ('/', '/') => position(chars, at, |c| c == '\n'),
        ('/', '*') => block_comment_end(chars, at),
        ('"', _) => string_end(chars, at + 1),
        ('b' | 'c', '"') if !in_word => string_end(chars, at + 2),
        ('b', '\'') if !in_word => char_end(chars, at + 1).unwrap_or(at),
        ('r', '"' | '#') if !in_word => raw_end(chars, at + 1).unwrap_or(at),
        ('b' | 'c', 'r') if !in_word => raw_end(chars, at + 2).unwrap_or(at),
        ('\'', _) => char_end(chars, at).unwrap_or(at),
        _ => at,
    }
}

fn position(chars: &[char], from: usize, stop: impl Fn(char) -> bool) -> usize {
    chars[from..].iter().position(|c| stop(*c)).map_or(chars.len(), |steps| from + steps)
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut here) = (0, at);
    while here < chars.len() {
        match (chars[here], chars.get(here + 1)) {
            ('/', Some('*')) => (depth, here) = (depth + 1, here + 2),
            ('*', Some('/')) => (depth, here) = (depth - 1, here + 2),
            _ => here += 1,
        }
        if depth == 0 {
            return here;
        }
    }
    chars.len()
}

fn string_end(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// The end of a raw literal whose hashes or quote begin at `at`; none for a raw identifier.
fn raw_end(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars.get(at..)?.iter().take_while(|c| **c == '#').count();
    if chars.get(at + hashes) != Some(&'"') {
        return None;
    }
    let mut here = at + hashes + 1;
    while here < chars.len() {
        if chars[here] == '"' && chars[here + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes {
            return Some(here + 1 + hashes);
        }
        here += 1;
    }
    Some(chars.len())
}

/// The end of a character literal; none for a lifetime.
fn char_end(chars: &[char], at: usize) -> Option<usize> {
    match (chars.get(at + 1)?, chars.get(at + 2)) {
        ('\\', _) => Some(position(chars, at + 3, |c| c == '\'') + 1),
        (_, Some('\'')) => Some(at + 3),
        _ => None,
    }
}

/// Blanks `#[cfg(test)]` items and counts their lines.
fn without_tests(code: &str) -> (String, usize) {
    const MARK: &str = "#[cfg(test)]";
    let (mut out, mut rest, mut lines) = (String::with_capacity(code.len()), code, 0);
    while let Some((before, marked)) = rest.split_once(MARK) {
        out.push_str(before);
        let end = item_end(marked);
        let item = &marked[..end];
        lines += item.matches('\n').count() + 1;
        out.extend(item.chars().filter(|c| *c == '\n'));
        rest = &marked[end..];
    }
    out.push_str(rest);
    (out, lines)
}

/// Where an item ends: at its first `;` outside braces, or at the brace that closes its first one.
fn item_end(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, character) in code.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth = depth.saturating_sub(1),
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

#[test]
fn comments_and_literals_are_blanked_and_lines_stay() {
    let text =
        "a /* b /* c */ d */ e // f\n\"g \\\" h\" i r#\"j \" k\"# l b'm' '\\n' '\\'' 'n' <'o>(p: &'q str) r#type br\"s\" u";
    let source = Source::new("src/x.rs", text);
    let words: Vec<_> =
        source.tokens().iter().filter_map(|(token, _)| if let Token::Word(word) = token { Some(*word) } else { None }).collect();
    assert_eq!(words, ["a", "e", "i", "l", "o", "p", "q", "str", "r", "type", "u"]);
    assert_eq!(source.tokens().last(), Some(&(Token::Word("u"), 2)));
}

#[test]
fn test_modules_do_not_count() {
    let source = Source::new(
        "src/x.rs",
        "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { if c {} }\n}\nfn d() {}\n#[cfg(test)]\nmod e;\n",
    );
    assert!(source.code.contains("fn a") && source.code.contains("fn d"));
    assert!(!source.code.contains("fn b") && !source.code.contains("mod e"));
    assert_eq!(source.lines(), 2);
    assert_eq!(Source::told("src/x/tests.rs", "fn a() {}\n", true).lines(), 0);
}

#[test]
fn files_know_their_module() {
    for (path, module) in [
        ("src/lib.rs", &[][..]),
        ("src/media/mod.rs", &["media"]),
        ("src/model.rs", &["model"]),
        ("src/model/roster.rs", &["model", "roster"]),
    ] {
        assert_eq!(Source::new(path, "").module(), module, "{path}");
    }
}

#[test]
fn files_of_test_modules_are_named_by_their_parent() {
    let text = "#[cfg(test)]\npub(crate) mod observer;\nmod real;\n#[cfg(test)]\n#[allow(x)]\nmod tests;\n#[cfg(test)]\nmod inline { a(); }";
    assert_eq!(test_modules("src/media/route.rs", text), ["src/media/route/observer", "src/media/route/tests"]);
    assert_eq!(test_modules("src/media/mod.rs", "#[cfg(test)] mod tests;"), ["src/media/tests"]);
    assert!(test_modules("src/a.rs", "// #[cfg(test)]\nmod tests;").is_empty());
}
