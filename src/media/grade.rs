//! How well a person's line carries, in one word that does not flicker.
//!
//! [`judge`] turns what was measured since the last look into a score; a [`Steady`] word follows only what lasts. Pure.

use std::time::Duration;

/// Nothing authentic for so long: the line is lost. Browsers check a working path every 2.5 s (Chromium) to 6 s (Firefox).
const LOST_AFTER: Duration = Duration::from_secs(8);
/// A round trip up to here is not noticed in talk (ITU-T G.114: 150 ms one way); from there on it weighs.
const EASY_RTT: Duration = Duration::from_millis(300);
/// So much more takes a whole point.
const RTT_POINT: Duration = Duration::from_millis(400);
/// A tenth of all packets lost takes two and a half points: repairs and redundancy hide two in a hundred, not ten.
const LOSS_POINTS: f64 = 25.0;
/// A picture smaller than wished takes a point, one that pauses two.
const SMALLER_POINTS: f64 = 1.0;
const PAUSED_POINTS: f64 = 2.0;
/// The lowest scores of the best two words.
const EXCELLENT: f64 = 4.1;
const GOOD: f64 = 3.2;

/// A line's quality in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Word {
    /// Nothing arrives.
    Lost,
    /// Hard to follow.
    Poor,
    /// Usable.
    Good,
    /// Clean.
    Excellent,
}

/// What the line of one person did since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// Share of what it sent that was lost, 0 to 1.
    pub loss_up: f64,
    /// Share of what was sent to it that was lost, 0 to 1.
    pub loss_down: f64,
    /// Round trip, where known.
    pub rtt: Option<Duration>,
    /// Pictures its line makes smaller than it wishes.
    pub smaller: bool,
    /// Pictures its line makes pause.
    pub paused: bool,
    /// How long nothing authentic has come.
    pub silent: Duration,
}

/// A score from 1 to 5, and its word.
#[must_use]
pub fn judge(measured: &Measured) -> (Word, f64) {
    if measured.silent >= LOST_AFTER {
        return (Word::Lost, 1.0);
    }
    let loss = measured.loss_up.max(measured.loss_down).clamp(0.0, 1.0) * LOSS_POINTS;
    let slow = measured.rtt.unwrap_or_default().saturating_sub(EASY_RTT).as_secs_f64() / RTT_POINT.as_secs_f64();
    let size = if measured.paused {
        PAUSED_POINTS
    } else if measured.smaller {
        SMALLER_POINTS
    } else {
        0.0
    };
    let score = (5.0 - loss - slow - size).clamp(1.0, 5.0);
    let word = match score {
        score if score >= EXCELLENT => Word::Excellent,
        score if score >= GOOD => Word::Good,
        _ => Word::Poor,
    };
    (word, score)
}

/// A value that is taken over once it was seen a few times in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steady<T> {
    shown: Option<T>,
    next: Option<(T, u8)>,
}

impl<T> Default for Steady<T> {
    fn default() -> Self {
        Self { shown: None, next: None }
    }
}

impl<T: PartialEq> Steady<T> {
    /// What was taken over last.
    #[must_use]
    pub fn shown(&self) -> Option<&T> {
        self.shown.as_ref()
    }

    /// Sees a value that counts once it was seen `times` in a row; whether another is shown from now on. The first counts at once.
    pub fn see(&mut self, value: T, times: impl FnOnce(&T, &T) -> u8) -> bool {
        let Some(shown) = &self.shown else {
            self.shown = Some(value);
            return true;
        };
        if *shown == value {
            self.next = None;
            return false;
        }
        let times = times(shown, &value);
        let seen = self.next.take().filter(|(next, _)| *next == value).map_or(0, |(_, seen)| seen) + 1;
        if seen < times {
            self.next = Some((value, seen));
            return false;
        }
        self.shown = Some(value);
        true
    }
}

/// Looks after which a word is taken over: bad news when it lasts, good news when it lasts longer, the loss of all and its end at
/// once.
#[must_use]
pub fn patience(shown: &Word, seen: &Word) -> u8 {
    match (shown, seen) {
        (Word::Lost, _) | (_, Word::Lost) => 1,
        (shown, seen) if seen < shown => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(change: impl FnOnce(&mut Measured)) -> Word {
        let mut measured = Measured::default();
        change(&mut measured);
        judge(&measured).0
    }

    #[test]
    fn each_fault_alone_lowers_the_word() {
        let ms = Duration::from_millis;
        assert_eq!(word(|_| {}), Word::Excellent);
        assert_eq!([0.02, 0.05, 0.10].map(|loss| word(|m| m.loss_up = loss)), [Word::Excellent, Word::Good, Word::Poor]);
        assert_eq!([0.02, 0.05, 0.10].map(|loss| word(|m| m.loss_down = loss)), [Word::Excellent, Word::Good, Word::Poor]);
        let slow = [150, 650, 800, 1_500].map(|rtt| word(|m| m.rtt = Some(ms(rtt))));
        assert_eq!(slow, [Word::Excellent, Word::Excellent, Word::Good, Word::Poor]);
        assert_eq!([word(|m| m.smaller = true), word(|m| m.paused = true)], [Word::Good, Word::Poor]);
        assert_eq!(word(|m| (m.smaller, m.loss_down) = (true, 0.02)), Word::Good);
        assert_eq!([word(|m| m.silent = ms(7_900)), word(|m| m.silent = ms(8_000))], [Word::Excellent, Word::Lost]);
    }

    #[test]
    fn the_score_stays_within_its_scale() {
        let worst = Measured { loss_up: 9.0, rtt: Some(Duration::from_secs(60)), paused: true, ..Measured::default() };
        assert!((judge(&worst).1 - 1.0).abs() < f64::EPSILON);
        assert!((judge(&Measured::default()).1 - 5.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_word_changes_only_when_it_lasts() {
        use Word::{Excellent, Good, Lost, Poor};
        let mut shown = Steady::default();
        let seen = [Excellent, Poor, Excellent, Poor, Poor, Good, Good, Poor, Good, Good, Good, Lost, Poor];
        let told: Vec<bool> = seen.into_iter().map(|word| shown.see(word, patience)).collect();
        let at: Vec<usize> = (0..).zip(told).filter_map(|(at, told)| told.then_some(at)).collect();
        assert_eq!(at, [0, 4, 10, 11, 12]);
        assert_eq!(shown.shown(), Some(&Poor));
    }
}
