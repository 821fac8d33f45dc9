//! State per SSRC: flat, bounded, and never forgetting which indexes are used.

use super::SrtpError;
use super::replay::Resume;
use crate::media::ahead;
use smallvec::SmallVec;

/// SSRCs one table ever takes over the life of its keys, ended ones included: 64 KiB of memory at the very most.
///
/// A long consultation in which tracks come and go uses some hundreds.
const MAX_EVER: usize = 4096;

/// Streams that have room in the table itself: sound and pictures of two people. Their states are then in one place with the rest of
/// what a packet touches; those of more people lie elsewhere.
const NEAR: usize = 4;

/// The live streams of one direction, and the last index of each one that ended.
///
/// Ended streams leave their last index behind because the keys live on: taking their SSRC up again from zero would let an
/// attacker replay them, or make us use an AES-GCM nonce twice.
#[derive(Debug)]
pub(super) struct SsrcTable<T> {
    /// Close together: the streams of several people take turns, and this is looked through for each.
    live: SmallVec<[u32; NEAR]>,
    /// The states of the live ones, in the same order.
    states: SmallVec<[T; NEAR]>,
    last_used: usize,
    /// Sorted by SSRC.
    ended: Vec<(u32, u64)>,
    max_live: usize,
}

impl<T: Resume> SsrcTable<T> {
    pub(super) fn new(max_live: usize) -> Self {
        Self { live: SmallVec::new(), states: SmallVec::new(), last_used: 0, ended: Vec::new(), max_live }
    }

    /// Runs `step` on the state of a stream; the state of a new stream is kept only if `step` succeeds.
    ///
    /// # Errors
    /// [`SrtpError::TableFull`] for a new stream over the bound, before `step` runs; otherwise what `step` says.
    pub(super) fn with<R>(&mut self, ssrc: u32, step: impl FnOnce(&mut T) -> Result<R, SrtpError>) -> Result<R, SrtpError> {
        if let Some(state) = self.position(ssrc).and_then(|position| self.states.get_mut(position)) {
            return step(state);
        }
        let ended = self.ended.binary_search_by_key(&ssrc, |(ssrc, _)| *ssrc);
        let ever = self.live.len() + self.ended.len();
        if self.live.len() >= self.max_live || (ended.is_err() && ever >= MAX_EVER) {
            return Err(SrtpError::TableFull);
        }
        let last = ended.ok().and_then(|position| self.ended.get(position));
        let mut state = last.map_or_else(T::default, |(_, highest)| T::resumed(*highest));
        let result = step(&mut state)?;
        if let Ok(position) = ended {
            self.ended.remove(position);
        }
        self.last_used = self.live.len();
        self.live.push(ssrc);
        self.states.push(state);
        Ok(result)
    }

    /// Ends a stream: frees its state and keeps only its last index.
    pub(super) fn end(&mut self, ssrc: u32) {
        let Some(position) = self.position(ssrc) else {
            return;
        };
        self.live.swap_remove(position);
        let state = self.states.swap_remove(position);
        if let (Some(highest), Err(place)) = (state.highest(), self.ended.binary_search_by_key(&ssrc, |(ssrc, _)| *ssrc)) {
            self.ended.insert(place, (ssrc, highest));
        }
    }

    /// Asks for the states of the live streams where they lie elsewhere, as far as a few lines hold them: that is a dozen streams.
    pub(super) fn warm(&self) {
        if !self.live.spilled() {
            return;
        }
        ahead::fetch_slice(&self.live, 1);
        ahead::fetch_slice(&self.states, 4);
    }

    /// The state of a live stream.
    pub(super) fn peek(&self, ssrc: u32) -> Option<&T> {
        self.states.get(self.live.iter().position(|known| *known == ssrc)?)
    }

    /// Number of live streams.
    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    /// Packets come in bursts of one stream, so the last one is tried first.
    fn position(&mut self, ssrc: u32) -> Option<usize> {
        if self.live.get(self.last_used) == Some(&ssrc) {
            return Some(self.last_used);
        }
        self.last_used = self.live.iter().position(|known| *known == ssrc)?;
        Some(self.last_used)
    }
}

#[cfg(test)]
mod tests {
    use super::super::replay::Window;
    use super::*;

    fn take(table: &mut SsrcTable<Window<3>>, ssrc: u32, index: u64) -> Result<(), SrtpError> {
        table.with(ssrc, |window| {
            if !window.is_free(index) {
                return Err(SrtpError::Replay);
            }
            window.take(index);
            Ok(())
        })
    }

    #[test]
    fn a_failed_step_leaves_no_state() {
        let mut table = SsrcTable::<Window<3>>::new(2);
        assert_eq!(table.with(1, |_| Err::<(), _>(SrtpError::Auth)), Err(SrtpError::Auth));
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn live_streams_are_bounded_and_ending_one_makes_room() {
        let mut table = SsrcTable::new(2);
        assert_eq!([1, 2, 3].map(|ssrc| take(&mut table, ssrc, 7)), [Ok(()), Ok(()), Err(SrtpError::TableFull)]);
        table.end(1);
        assert_eq!(take(&mut table, 3, 7), Ok(()));
        assert_eq!(take(&mut table, 2, 7), Err(SrtpError::Replay), "the others keep their state");
    }

    #[test]
    fn a_stream_that_comes_back_goes_on_where_it_ended() {
        let mut table = SsrcTable::new(2);
        take(&mut table, 1, 70_000).unwrap();
        table.end(1);
        assert_eq!(table.len(), 0);
        assert_eq!(take(&mut table, 1, 69_999), Err(SrtpError::Replay));
        assert_eq!(table.len(), 0);
        assert_eq!(take(&mut table, 1, 70_001), Ok(()));
        assert_eq!(take(&mut table, 1, 70_001), Err(SrtpError::Replay));
    }

    #[test]
    fn ended_streams_are_bounded() {
        let mut table = SsrcTable::new(2);
        for ssrc in 0..MAX_EVER as u32 {
            take(&mut table, ssrc, 1).unwrap();
            table.end(ssrc);
        }
        assert_eq!(take(&mut table, u32::MAX, 1), Err(SrtpError::TableFull));
        assert_eq!(take(&mut table, 5, 2), Ok(()), "a known one may still come back");
        assert_eq!(table.ended.len(), MAX_EVER - 1);
    }
}
