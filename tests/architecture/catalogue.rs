//! Which events of the record a node never writes: none of its code makes them. The documentation says the same, with the reason.

use super::scan::{Source, Token};

/// Where the documentation's list stands, between these lines.
const LIST: (&str, &str) = ("<!-- never written -->", "<!-- end of never written -->");

/// Variants and names of the catalogue, in its order, from its own text.
pub(crate) fn declared(text: &str) -> Vec<(String, String)> {
    let entry = |line: &str| {
        let (variant, rest) = line.trim().split_once("(\"")?;
        let (name, rest) = rest.split_once("\", ")?;
        let fits = name.contains('.') && rest.len() > 3 && variant.chars().all(char::is_alphanumeric);
        fits.then(|| (variant.to_owned(), name.to_owned()))
    };
    text.lines().filter_map(entry).collect()
}

/// Whether a source makes an event; where it only looks for one, it does not.
pub(crate) fn makes(source: &Source, variant: &str) -> bool {
    let tokens: Vec<Token<'_>> = source.tokens().into_iter().map(|(token, _)| token).collect();
    let named = [Token::Word("Event"), Token::Colons, Token::Word(variant), Token::Other('{')];
    (0..tokens.len()).filter(|at| tokens[*at..].starts_with(&named)).any(|at| {
        let (mut depth, mut end) = (0_usize, at + 3);
        for token in &tokens[at + 3..] {
            match token {
                Token::Other('{') => depth += 1,
                Token::Other('}') => depth -= 1,
                Token::Word(_) | Token::Colons | Token::Other(_) => {}
            }
            end += 1;
            if depth == 0 {
                break;
            }
        }
        let rest_of_pattern = tokens[at..end].windows(2).any(|pair| pair == [Token::Other('.'), Token::Other('.')]);
        let looked_for = matches!(tokens.get(end), Some(Token::Other('=' | '|')))
            || tokens.get(end..end + 2) == Some(&[Token::Other(')'), Token::Other('=')]);
        !rest_of_pattern && !looked_for
    })
}

/// The documentation's list.
pub(crate) fn documented(text: &str) -> Vec<String> {
    let Some((_, list)) = text.split_once(LIST.0) else { return Vec::new() };
    let list = list.split_once(LIST.1).map_or(list, |(list, _)| list);
    let first = list.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut names: Vec<_> = first
        .filter_map(|row| row.split_once('|'))
        .flat_map(|(cell, _)| {
            cell.split('`').map(str::trim).filter(|word| word.contains('.')).map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    names.sort();
    names
}
