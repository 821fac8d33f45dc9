//! What of a publisher's header extensions goes through to its receivers.
//!
//! Ids are agreed on each line apart, so each pair of publisher and receiver has its [`Passes`]; a packet's elements are brought into
//! that form once for all receivers that share it.

use crate::media::codec::dependency::write_active;
use crate::media::packet::RtpHeader;
use crate::model::{Extension, ExtensionMap};

/// Longest header extension element (RFC 8285, section 4.3).
pub(super) const MAX_DESCRIPTOR: usize = 255;

/// Header extensions that go through to a receiver, each with the id it has there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Passes {
    /// Id of the transport-wide number at the receiver; 0 where it wants none.
    pub(super) transport_cc: u8,
    pairs: [(u8, u8); Self::THROUGH.len()],
}

impl Passes {
    /// What describes the media itself; what describes the transport ends at the relay.
    const THROUGH: [Extension; 5] = [
        Extension::AudioLevel,
        Extension::VideoOrientation,
        Extension::DependencyDescriptor,
        Extension::AbsCaptureTime,
        Extension::PlayoutDelay,
    ];
    /// The most extensions a forwarded packet carries: those, and the transport-wide number.
    const MAX: usize = Self::THROUGH.len() + 1;

    pub(super) fn between(publisher: &ExtensionMap, receiver: &ExtensionMap) -> Self {
        let transport_cc = receiver.id(Extension::TransportCc).unwrap_or(0);
        let mut passes = Self { transport_cc, ..Self::default() };
        for (pair, extension) in passes.pairs.iter_mut().zip(Self::THROUGH) {
            if let (Some(from), Some(to)) = (publisher.id(extension), receiver.id(extension)) {
                *pair = (from, to);
            }
        }
        passes
    }

    /// The id a receiver has for the dependency descriptor.
    fn dependency_descriptor(&self) -> Option<u8> {
        let index = Self::THROUGH.iter().position(|extension| *extension == Extension::DependencyDescriptor)?;
        self.pairs.get(index).map(|(_, to)| *to).filter(|to| *to != 0)
    }

    fn id(&self, incoming: u8) -> Option<u8> {
        self.pairs.iter().find(|(from, _)| *from == incoming && *from != 0).map(|(_, to)| *to)
    }
}

/// Header extension elements of a packet as they go out to the receivers of one mapping; mostly that is all of them.
#[derive(Clone, Copy, Default)]
pub(super) struct Elements<'a> {
    passes: Option<Passes>,
    found: [(u8, &'a [u8]); Passes::MAX],
    count: usize,
}

impl<'a> Elements<'a> {
    pub(super) fn of(passes: &Passes, header: &RtpHeader, packet: &'a [u8]) -> Self {
        let mut elements = Self::default();
        elements.gather(passes, header, packet);
        elements
    }

    /// Reads the header, unless these are the elements of that mapping already.
    pub(super) fn gather(&mut self, passes: &Passes, header: &RtpHeader, packet: &'a [u8]) {
        if self.passes == Some(*passes) {
            return;
        }
        (self.passes, self.count) = (Some(*passes), 0);
        if passes.transport_cc != 0
            && let Some(slot) = self.found.first_mut()
        {
            // First of all, so that the number can be put in its place at the end.
            *slot = (passes.transport_cc, &[0, 0]);
            self.count = 1;
        }
        for (id, value) in header.extensions(packet) {
            if let Some(id) = passes.id(id)
                && let Some(slot) = self.found.get_mut(self.count)
            {
                *slot = (id, value);
                self.count += 1;
            }
        }
    }

    /// The same with a dependency descriptor that names the decode targets that go on.
    pub(super) fn with_targets<'b>(&self, count: u8, active: u16, buffer: &'b mut [u8; MAX_DESCRIPTOR]) -> Elements<'b>
    where
        'a: 'b,
    {
        let mut elements: Elements<'b> = *self;
        let id = self.passes.and_then(|passes| passes.dependency_descriptor());
        if let Some((_, value)) = elements.found.iter_mut().take(self.count).find(|(found, _)| Some(*found) == id)
            && let Some(len) = write_active(buffer, value, count, active)
        {
            *value = buffer.get(..len).unwrap_or_default();
        }
        elements
    }

    /// Whether the first element is the transport-wide number.
    pub(super) fn numbered(&self) -> bool {
        self.passes.is_some_and(|passes| passes.transport_cc != 0)
    }

    pub(super) fn as_slice(&self) -> &[(u8, &'a [u8])] {
        self.found.get(..self.count).unwrap_or_default()
    }
}
