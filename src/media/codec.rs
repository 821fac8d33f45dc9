//! What a payload's *descriptor* says about its frame: where it starts, whether it is a key frame, which layer it is.
//!
//! Nothing here reads picture or sound. Only descriptors, NAL unit headers and the one bit of the VP8 frame tag that
//! says "key frame" are read, all of which stay in clear under end-to-end encryption. Odd input is "nothing known",
//! never an error. Entry point: [`inspect`].

mod av1;
pub mod dependency;
mod h264;
mod vp8;
mod vp9;

pub use vp8::{Vp8Descriptor, Vp8Patch};

use crate::model::Codec;
use dependency::{Dependencies, Described, Needs};

/// Spatial layers of one stream that are told apart; browsers send three at most.
pub const MAX_SPATIAL: u8 = 4;
/// Temporal layers of one stream that are told apart; browsers send three at most, and VP8 has two bits for them.
pub const MAX_TEMPORAL: u8 = 4;
/// Pairs of a spatial and a temporal layer.
pub const TARGETS: usize = (MAX_SPATIAL * MAX_TEMPORAL) as usize;

/// The place of a pair of layers in a table of [`TARGETS`]; what is too high means the highest.
#[must_use]
pub fn target_index(spatial: u8, temporal: u8) -> usize {
    usize::from(spatial.min(MAX_SPATIAL - 1)) * usize::from(MAX_TEMPORAL) + usize::from(temporal.min(MAX_TEMPORAL - 1))
}

/// What is known of the frame a packet belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The packet is the first of its frame. H.264 has no such bit: there it is set only where the payload proves it.
    pub frame_start: bool,
    /// The packet says that it is the last of its frame (of its spatial layer, where there are several).
    pub frame_end: bool,
    /// The packet opens a key frame: a receiver may begin here.
    pub key_frame_start: bool,
    /// Temporal layer.
    pub temporal: Option<u8>,
    /// Spatial layer within one stream (scalable coding, not simulcast).
    pub spatial: Option<u8>,
    /// A receiver of lower temporal layers may take up this frame's layer from here on.
    pub switching_point: bool,
    /// The VP8 payload descriptor, for rewriting.
    pub vp8: Option<Vp8Descriptor>,
    /// What the dependency descriptor says, for codecs whose own descriptor says less.
    pub dependencies: Option<Dependencies>,
    /// Which frames the one that begins here refers to, for VP8: browsers leave that out of its own descriptor where they send the other.
    pub needs: Option<Needs>,
    /// The frame is not predicted from an earlier picture, only from lower layers of its own.
    pub intra: bool,
}

impl Facts {
    /// Takes over what the dependency descriptor says: it tells more than any payload.
    pub fn describe(&mut self, described: &Described) {
        let Described { frame_start, frame_end, spatial, temporal, dependencies } = *described;
        (self.frame_start, self.frame_end) = (frame_start, frame_end);
        (self.spatial, self.temporal) = (Some(spatial), Some(temporal));
        self.key_frame_start = frame_start && spatial == 0 && dependencies.is_key();
        self.switching_point = self.key_frame_start;
        self.dependencies = Some(dependencies);
    }

    /// Takes over what it says of a VP8 frame: which frames it refers to, and its temporal layer where VP8's own descriptor leaves that
    /// out, as browsers do beside this one. Where VP8 numbers its pictures itself, those numbers are what is rewritten, and they rule.
    pub fn describe_vp8(&mut self, described: &Described) {
        let Described { frame_start, temporal, dependencies, .. } = *described;
        self.needs = dependencies.needs().filter(|_| frame_start);
        if self.vp8.is_some_and(|own| own.picture_id.is_none() && own.temporal.is_none()) {
            (self.temporal, self.dependencies) = (Some(temporal), Some(dependencies));
        }
    }

    /// One bit for each pair of spatial and temporal layer, by [`target_index`], whose receivers get the packet.
    #[must_use]
    pub fn members(&self) -> u16 {
        if let Some(dependencies) = &self.dependencies {
            return dependencies.members();
        }
        let spatial = self.spatial.unwrap_or(0).min(MAX_SPATIAL - 1);
        let temporal = self.temporal.unwrap_or(0).min(MAX_TEMPORAL - 1);
        // Four bits a row: all temporal layers from this one on, in all spatial ones from this one on.
        let row = 0x000f_u16 << temporal & 0x000f;
        (row * 0x1111) << (4 * spatial)
    }
}

/// Reads the descriptor of a payload; `dependency_descriptor` is the header extension of that name, where present.
#[must_use]
pub fn inspect(codec: Codec, payload: &[u8], dependency_descriptor: Option<&[u8]>) -> Facts {
    match codec {
        // Every audio packet can be decoded by itself.
        Codec::Opus | Codec::Red => {
            Facts { frame_start: true, frame_end: true, key_frame_start: true, switching_point: true, ..Facts::default() }
        }
        Codec::Vp8 => vp8::inspect(payload),
        Codec::Vp9 => vp9::inspect(payload),
        Codec::H264 => h264::inspect(payload),
        Codec::Av1 => av1::inspect(payload, dependency_descriptor),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CODECS: [Codec; 6] = [Codec::Opus, Codec::Red, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1];

    #[test]
    fn an_audio_packet_is_always_a_beginning() {
        assert!(inspect(Codec::Opus, &[0x78], None).key_frame_start);
        assert!(inspect(Codec::Red, &[], None).frame_start);
    }

    proptest! {
        #[test]
        fn no_input_panics(payload in proptest::collection::vec(any::<u8>(), 0..64), descriptor in proptest::collection::vec(any::<u8>(), 0..8)) {
            for codec in CODECS {
                for cut in 0..=payload.len() {
                    let _ = inspect(codec, &payload[..cut], Some(&descriptor[..cut.min(descriptor.len())]));
                    let facts = inspect(codec, &payload[..cut], None);
                    prop_assert!(codec.kind() == crate::model::MediaKind::Audio || cut > 0 || facts == Facts::default());
                }
            }
        }
    }
}
