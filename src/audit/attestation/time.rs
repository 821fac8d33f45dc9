//! Times as people read them.

/// Hours, minutes and seconds since the opening.
pub(super) fn clock(ms: u64) -> String {
    let s = ms / 1_000;
    format!("{:02}:{:02}:{:02}", s / 3_600, s / 60 % 60, s % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_come_first() {
        assert_eq!(clock(3_725_999), "01:02:05");
    }
}
