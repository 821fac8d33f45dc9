//! The check before parsing: bounds, control characters, and only the lines that are read at all.

use super::{MAX_LINE, MAX_LINES, MAX_SECTIONS, MAX_TEXT, SdpError};

/// Copies the lines the relay reads, `v o s t m a`, and leaves the others out, known or not.
///
/// A carriage return inside a line would end a line when the value is echoed in an answer; it is refused with the
/// other control characters.
///
/// # Errors
///
/// [`SdpError::TooLong`], [`SdpError::TooMany`] or [`SdpError::Malformed`].
pub(super) fn admit(text: &str) -> Result<String, SdpError> {
    if text.len() > MAX_TEXT {
        return Err(SdpError::TooLong);
    }
    let mut kept = String::with_capacity(text.len());
    let mut sections = 0_usize;
    for (number, line) in text.split('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if number >= MAX_LINES || line.len() > MAX_LINE {
            return Err(SdpError::TooLong);
        }
        if line.is_empty() {
            continue;
        }
        if line.chars().any(|c| c.is_control() && c != '\t') {
            return Err(SdpError::Malformed);
        }
        let (kind, rest) = line.split_once('=').ok_or(SdpError::Malformed)?;
        // One empty `v=` would make the parser read the next line's value as its own; it needs no value to go on.
        if kind.len() != 1 || rest.trim().is_empty() {
            return Err(SdpError::Malformed);
        }
        if kind == "m" {
            sections += 1;
            if sections > MAX_SECTIONS {
                return Err(SdpError::TooMany("sections"));
            }
        }
        if matches!(kind, "v" | "o" | "s" | "t" | "m" | "a") {
            kept.push_str(line);
            kept.push_str("\r\n");
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_not_read_are_left_out() {
        assert_eq!(admit("v=0\r\nu=http://x\nz=1 2\n\nx=odd\na=b\n"), Ok("v=0\r\na=b\r\n".to_owned()));
    }

    #[test]
    fn a_line_cannot_hide_another() {
        assert_eq!(admit("v=0\r\na=mid:0\ra=setup:active\r\n"), Err(SdpError::Malformed));
        assert_eq!(admit("v=0\r\na=mid:\u{0}\r\n"), Err(SdpError::Malformed));
        assert_eq!(admit("v=0\r\na=mid:\u{85}\r\n"), Err(SdpError::Malformed));
    }

    #[test]
    fn every_bound_holds_at_its_edge() {
        let line = |length: usize| format!("a={}\n", "x".repeat(length - 2));
        assert!(admit(&line(MAX_LINE)).is_ok());
        assert_eq!(admit(&line(MAX_LINE + 1)), Err(SdpError::TooLong));
        assert!(admit(&"m=x\n".repeat(MAX_SECTIONS)).is_ok());
        assert_eq!(admit(&"m=x\n".repeat(MAX_SECTIONS + 1)), Err(SdpError::TooMany("sections")));
        assert!(admit(&"a=x\n".repeat(MAX_LINES - 1)).is_ok());
        assert_eq!(admit(&"a=x\n".repeat(MAX_LINES + 1)), Err(SdpError::TooLong));
        assert_eq!(admit(&"a".repeat(MAX_TEXT + 1)), Err(SdpError::TooLong));
    }
}
