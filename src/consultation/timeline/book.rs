//! Stories by their codes.

use super::Timeline;
use crate::model::Instant;
use std::collections::BTreeMap;
use std::fmt;

/// Codes there are.
const CODES: u32 = 1_000_000;

/// Most stories kept at a time: a hundredth of the codes, so that a guess finds one in a hundred times at best, and the
/// door that answers counts and slows guesses.
const MOST: usize = 10_000;

/// Six digits, read out over the telephone. `Debug` is redacted: whoever knows it may read a story.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SupportCode(u32);

impl SupportCode {
    /// Reads six digits; blanks and dashes between them are how people write them down.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String = text.chars().take(16).filter(|character| !matches!(character, ' ' | '-')).collect();
        let six = digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_digit());
        six.then(|| digits.parse().ok().map(Self)).flatten()
    }

    /// Six digits.
    #[must_use]
    pub fn to_text(self) -> String {
        format!("{:06}", self.0)
    }
}

impl fmt::Debug for SupportCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SupportCode(…)")
    }
}

/// Stories that can still be asked for. Whoever drives it calls [`forget`](Self::forget) now and then.
#[derive(Default)]
pub struct Timelines {
    stories: BTreeMap<SupportCode, (Timeline, Option<Instant>)>,
}

impl Timelines {
    /// Begins a story under a free code near a random number; `None` when too many are kept.
    pub fn open(&mut self, random: u32, now: Instant) -> Option<SupportCode> {
        if self.stories.len() >= MOST {
            return None;
        }
        // At least 99 of 100 codes are free.
        let code =
            (0..CODES).map(|step| SupportCode((random % CODES + step) % CODES)).find(|code| !self.stories.contains_key(code))?;
        self.stories.insert(code, (Timeline::new(now), None));
        Some(code)
    }

    /// The story of a code.
    #[must_use]
    pub fn story(&self, code: SupportCode) -> Option<&Timeline> {
        self.stories.get(&code).map(|(story, _)| story)
    }

    /// The story of a code, to go on with.
    pub fn story_mut(&mut self, code: SupportCode) -> Option<&mut Timeline> {
        self.stories.get_mut(&code).map(|(story, _)| story)
    }

    /// The call ended; its story stays until it is forgotten.
    pub fn close(&mut self, code: SupportCode, now: Instant) {
        if let Some((_, ended)) = self.stories.get_mut(&code) {
            ended.get_or_insert(now);
        }
    }

    /// Forgets stories of calls that ended before a time.
    pub fn forget(&mut self, before: Instant) {
        self.stories.retain(|_, (_, ended)| ended.is_none_or(|ended| ended >= before));
    }
}
