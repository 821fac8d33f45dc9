//! How many checks of a peer are answered.

use crate::model::Instant;
use std::time::Duration;

/// Answered checks per second and peer: Chromium in set-up sends about 20 a second, Firefox 50.
const CHECKS_PER_SECOND: u32 = 50;
/// Checks answered in one burst.
const CHECK_BURST: u32 = 100;

/// A token bucket in integers: one token is one check.
pub(super) struct Bucket {
    tokens: u32,
    filled_at: Option<Instant>,
}

impl Bucket {
    pub(super) fn full() -> Self {
        Self { tokens: CHECK_BURST, filled_at: None }
    }

    pub(super) fn take(&mut self, now: Instant) -> bool {
        let step = Duration::from_secs(1) / CHECKS_PER_SECOND;
        let filled_at = *self.filled_at.get_or_insert(now);
        let gained = now.saturating_duration_since(filled_at).as_nanos() / step.as_nanos();
        let gained = u32::try_from(gained).unwrap_or(u32::MAX).min(CHECK_BURST);
        if gained > 0 {
            self.tokens = self.tokens.saturating_add(gained).min(CHECK_BURST);
            let full = self.tokens == CHECK_BURST;
            self.filled_at = Some(if full { now } else { filled_at + step * gained });
        }
        let granted = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        granted
    }
}
