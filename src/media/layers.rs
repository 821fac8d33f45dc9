//! Which simulcast layer a receiver gets.
//!
//! Layers are counted from 0, lowest to highest, in the order of the publisher's rids. [`LayerSet`] and [`LayerActivity`]
//! belong to a track and are shared by its receivers; [`LayerChoice`] belongs to one receiver. Nothing here switches: the
//! route does, at a key frame. Entry point: [`LayerChoice::target`].

use super::MAX_LAYERS;
use crate::model::Instant;
use crate::model::roster::{Quality, VideoLayer};
use std::time::Duration;

/// Silence after which a layer counts as gone, at least: a few frames at camera rates.
pub const SILENCE_MIN: Duration = Duration::from_millis(500);
/// The same at most: a still screen share repeats its picture every second or two.
pub const SILENCE_MAX: Duration = Duration::from_secs(5);
/// A layer is gone after this many of its own frame intervals without a packet.
const SILENT_FRAMES: u32 = 3;
/// A longer interval would count as more than the longest silence.
const MAX_SPACING_MICROS: u64 = SILENCE_MAX.as_secs() * 1_000_000 / SILENT_FRAMES as u64;
/// Packets closer together than this belong to one frame and say nothing of its rate.
const SAME_FRAME_MICROS: u64 = 5_000;
/// How long a layer that brought no picture is not chosen: an encoder that started anew has settled by then.
const AVOIDED: Duration = Duration::from_secs(5);
/// Edge in pixels assumed for the lower two of several layers whose sizes were not announced.
const ASSUMED_EDGES: [u32; 2] = [180, 360];

/// The layers of a track as announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerSet {
    count: u8,
    /// The layers are the spatial ones of one stream.
    scalable: bool,
    layers: [AnnouncedLayer; MAX_LAYERS],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct AnnouncedLayer {
    quality: Quality,
    width: u32,
    height: u32,
    /// Bits per second, 0 where not said.
    bitrate: u32,
}

impl LayerSet {
    /// The layers of a track that sends `streams` simulcast streams; `announced` may be empty, partial or unordered.
    #[must_use]
    pub fn new(announced: &[VideoLayer], streams: usize) -> Self {
        let count = streams.clamp(1, MAX_LAYERS);
        let mut layers = Self::assumed(count);
        // Announcements that do not match the streams describe something else; sizes assumed are the safer guide.
        if announced.len() == count {
            for (slot, layer) in layers.iter_mut().zip(announced) {
                let (width, height) = match (layer.width, layer.height) {
                    (0, _) | (_, 0) => (slot.width, slot.height),
                    size => size,
                };
                *slot = AnnouncedLayer { quality: layer.quality, width, height, bitrate: layer.bitrate };
            }
            if let Some(used) = layers.get_mut(..count) {
                used.sort_by_key(|layer| layer.quality);
            }
        }
        Self { count: count as u8, scalable: false, layers }
    }

    /// The spatial layers of a track that sends one scalable stream.
    #[must_use]
    pub fn scalable(announced: &[VideoLayer]) -> Self {
        Self { scalable: true, ..Self::new(announced, announced.len()) }
    }

    /// Whether the layers are the spatial ones of one stream, not streams of their own.
    #[must_use]
    pub fn is_scalable(&self) -> bool {
        self.scalable
    }

    /// What to forward of the track for one of its layers.
    #[must_use]
    pub fn target(&self, layer: u8, temporal: u8) -> LayerTarget {
        // The highest announced means all there is, whatever the announcement.
        let spatial = if layer + 1 >= self.count { u8::MAX } else { layer };
        if self.scalable {
            LayerTarget { stream: 0, spatial, temporal }
        } else {
            LayerTarget { temporal, ..LayerTarget::whole(layer) }
        }
    }

    /// Bits per second of a layer as announced, if that was said.
    #[must_use]
    pub fn announced_bitrate(&self, layer: u8) -> Option<u32> {
        let layer = self.layers.get(..usize::from(self.count))?.get(usize::from(layer))?;
        Some(layer.bitrate).filter(|bits| *bits > 0)
    }

    /// Pixels of a layer's shorter edge; nothing where that was not announced.
    #[must_use]
    pub fn lines(&self, layer: u8) -> Option<u32> {
        let layer = self.layers.get(..usize::from(self.count))?.get(usize::from(layer))?;
        Some(layer.width.min(layer.height)).filter(|lines| *lines != u32::MAX)
    }

    /// How many layers there are, at least one.
    #[must_use]
    pub fn count(&self) -> u8 {
        self.count
    }

    /// The layer for a quality: the first that has at least this quality, otherwise the highest.
    #[must_use]
    pub fn of_quality(&self, quality: Quality) -> u8 {
        self.first(|layer| layer.quality >= quality)
    }

    /// The smallest layer that fills a size in pixels, give or take a fifth; 0 stands for an edge not said.
    #[must_use]
    pub fn of_size(&self, width: u32, height: u32) -> u8 {
        self.first(|layer| {
            // The shorter edge decides: height in landscape, width in portrait.
            let portrait = layer.height > layer.width;
            let use_width = if portrait { width != 0 } else { height == 0 };
            let (has, asked) = if use_width { (layer.width, width) } else { (layer.height, height) };
            u64::from(has) * 5 >= u64::from(asked) * 4
        })
    }

    fn first(&self, fits: impl Fn(&AnnouncedLayer) -> bool) -> u8 {
        let highest = self.count - 1;
        self.layers.iter().take(usize::from(highest)).position(fits).map_or(highest, |index| index as u8)
    }

    fn assumed(count: usize) -> [AnnouncedLayer; MAX_LAYERS] {
        let original = AnnouncedLayer { quality: Quality::High, width: u32::MAX, height: u32::MAX, bitrate: 0 };
        let mut layers = [original; MAX_LAYERS];
        let qualities = [Quality::Low, Quality::Medium];
        for ((slot, edge), quality) in layers.iter_mut().take(count - 1).zip(ASSUMED_EDGES).zip(qualities) {
            *slot = AnnouncedLayer { quality, width: edge * 16 / 9, height: edge, bitrate: 0 };
        }
        layers
    }
}

/// Which layers of a track carry packets now.
#[derive(Clone, Copy, Debug, Default)]
pub struct LayerActivity {
    layers: [Option<Seen>; MAX_LAYERS],
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Instant,
    /// The interval between frames in microseconds: follows a longer one at once, a shorter one slowly.
    spacing: u64,
}

impl Seen {
    fn deadline(&self) -> Instant {
        self.at + (Duration::from_micros(self.spacing) * SILENT_FRAMES).clamp(SILENCE_MIN, SILENCE_MAX)
    }
}

impl LayerActivity {
    /// A media packet of a layer came in (padding does not count).
    pub fn on_layer_packet(&mut self, layer: u8, now: Instant) {
        let Some(slot) = self.layers.get_mut(usize::from(layer)) else { return };
        let Some(seen) = slot else {
            *slot = Some(Seen { at: now, spacing: 0 });
            return;
        };
        let gap = now.micros_since(seen.at).min(MAX_SPACING_MICROS);
        if gap > seen.spacing {
            seen.spacing = gap;
        } else if gap > SAME_FRAME_MICROS {
            seen.spacing = (seen.spacing * 7 + gap) / 8;
        }
        seen.at = now;
    }

    /// Whether a layer carried packets lately.
    #[must_use]
    pub fn is_live(&self, layer: u8, now: Instant) -> bool {
        self.layers.get(usize::from(layer)).copied().flatten().is_some_and(|seen| now < seen.deadline())
    }

    /// When the next layer will count as gone if nothing more comes.
    #[must_use]
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        self.layers.iter().flatten().map(Seen::deadline).filter(|deadline| *deadline > now).min()
    }
}

/// What of a track goes to a receiver: a stream of it, and of that stream's layers the lower ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LayerTarget {
    /// The simulcast stream, 0 the smallest; always 0 in scalable coding.
    pub stream: u8,
    /// The highest spatial layer within the stream.
    pub spatial: u8,
    /// The highest temporal layer within the stream.
    pub temporal: u8,
}

impl LayerTarget {
    /// All layers of a stream.
    #[must_use]
    pub fn whole(stream: u8) -> Self {
        Self { stream, spatial: u8::MAX, temporal: u8::MAX }
    }
}

/// How a receiver wants a track: a size outranks a quality, and neither means the best there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Not shown now.
    pub disabled: bool,
    /// Wanted quality.
    pub quality: Option<Quality>,
    /// Pixels at which it is shown, 0 where not said.
    pub width: u32,
    /// Pixels at which it is shown, 0 where not said.
    pub height: u32,
    /// Frames per second wanted, 0 where not said.
    pub fps: u32,
}

impl Wish {
    /// The highest temporal layer that is wanted: each doubles the rate, and a camera's three make 30 frames a second.
    fn temporal(&self) -> u8 {
        match self.fps {
            0 => u8::MAX,
            1..=8 => 0,
            9..=16 => 1,
            _ => u8::MAX,
        }
    }
}

/// The most that the receiver's line allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cap {
    /// No limit.
    #[default]
    Free,
    /// This layer at most: of the simulcast streams, or the spatial ones in scalable coding.
    UpTo(u8),
    /// The same, and of it this temporal layer at most.
    Layers(u8, u8),
    /// Nothing now.
    Pause,
}

/// The layer of a track that one receiver should get.
#[derive(Clone, Copy, Debug, Default)]
pub struct LayerChoice {
    wish: Wish,
    cap: Cap,
    held: Option<u8>,
    /// A layer that brings no picture, and until when it is not chosen.
    avoided: Option<(u8, Instant)>,
}

impl LayerChoice {
    /// Sets how the receiver wants the track.
    pub fn set_wish(&mut self, wish: Wish) {
        self.wish = wish;
    }

    /// Sets what its line allows.
    pub fn set_cap(&mut self, cap: Cap) {
        self.cap = cap;
    }

    /// The layer that is forwarded now brings no picture: for a while another is chosen, where one is live.
    pub fn avoid(&mut self, now: Instant) {
        self.avoided = self.held.map(|layer| (layer, now + AVOIDED));
    }

    /// Whether a layer that was avoided may be chosen again, once.
    pub fn avoids_no_longer(&mut self, now: Instant) -> bool {
        self.avoided.take_if(|(_, until)| *until <= now).is_some()
    }

    /// What its line allows.
    #[must_use]
    pub fn cap(&self) -> Cap {
        self.cap
    }

    /// The layer asked for, alive or not and whatever the line allows; `None` while the track is not shown. Publishers are
    /// told to send the layers somebody asks for.
    #[must_use]
    pub fn wanted(&self, set: &LayerSet) -> Option<u8> {
        let wish = &self.wish;
        if wish.disabled {
            None
        } else if wish.width != 0 || wish.height != 0 {
            Some(set.of_size(wish.width, wish.height))
        } else {
            Some(set.of_quality(wish.quality.unwrap_or(Quality::High)))
        }
    }

    /// The layer chosen last; nothing while none is forwarded.
    #[must_use]
    pub fn held(&self) -> Option<u8> {
        self.held
    }

    /// The highest temporal layer asked for.
    #[must_use]
    pub fn wanted_temporal(&self) -> u8 {
        self.wish.temporal()
    }

    /// What to forward now, or `None` for nothing.
    pub fn target(&mut self, set: &LayerSet, activity: &LayerActivity, now: Instant) -> Option<LayerTarget> {
        self.held = self.pick(set, activity, now);
        let allowed = if let Cap::Layers(_, temporal) = self.cap { temporal } else { u8::MAX };
        self.held.map(|layer| set.target(layer, self.wish.temporal().min(allowed)))
    }

    fn pick(&self, set: &LayerSet, activity: &LayerActivity, now: Instant) -> Option<u8> {
        let highest = match self.cap {
            Cap::Free => set.count() - 1,
            Cap::UpTo(layer) | Cap::Layers(layer, _) => layer.min(set.count() - 1),
            Cap::Pause => return None,
        };
        let wanted = self.wanted(set)?.min(highest);
        let avoided = |layer: u8| self.avoided.is_some_and(|(avoided, until)| avoided == layer && now < until);
        let live = |layer: &u8| activity.is_live(*layer, now) && !avoided(*layer);
        // A lower live layer is better than none, a higher one too as long as the line bears it. While all are silent
        // (a muted camera) nothing is gained by moving.
        (0..=wanted)
            .rev()
            .find(live)
            .or_else(|| (wanted + 1..=highest).find(live))
            .or_else(|| self.held.filter(|held| *held <= highest))
            .or(Some(wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn layer(quality: Quality, width: u32, height: u32) -> VideoLayer {
        VideoLayer { quality, width, height, bitrate: 0, rid: None }
    }

    fn camera() -> LayerSet {
        LayerSet::new(&[layer(Quality::Low, 320, 180), layer(Quality::Medium, 640, 360), layer(Quality::High, 1_280, 720)], 3)
    }

    fn pick(choice: &mut LayerChoice, set: &LayerSet, activity: &LayerActivity, now: Instant) -> Option<u8> {
        choice.target(set, activity, now).map(|target| target.stream)
    }

    fn all_live(now: Instant) -> LayerActivity {
        let mut activity = LayerActivity::default();
        for layer in 0..3 {
            activity.on_layer_packet(layer, now);
        }
        activity
    }

    #[test]
    fn qualities_map_to_layers_whatever_was_announced() {
        use Quality::{High, Low, Medium};
        let of = |announced: &[Quality]| {
            let layers: Vec<_> = announced.iter().map(|quality| layer(*quality, 640, 360)).collect();
            let set = LayerSet::new(&layers, layers.len());
            [Low, Medium, High].map(|quality| set.of_quality(quality))
        };
        assert_eq!(of(&[Low, Medium, High]), [0, 1, 2]);
        assert_eq!(of(&[High, Low, Medium]), [0, 1, 2], "in any order");
        assert_eq!(of(&[Low, Medium]), [0, 1, 1]);
        assert_eq!(of(&[Low, High]), [0, 1, 1]);
        assert_eq!(of(&[Medium, High]), [0, 0, 1]);
        assert_eq!(of(&[High]), [0, 0, 0]);
        assert_eq!(of(&[]), [0, 0, 0]);
    }

    #[test]
    fn a_size_takes_the_smallest_layer_that_fills_it_give_or_take_a_fifth() {
        let set = camera();
        assert_eq!(set.of_size(320, 180), 0);
        assert_eq!(set.of_size(400, 225), 0, "a fifth short is near enough");
        assert_eq!(set.of_size(402, 226), 1);
        assert_eq!(set.of_size(640, 360), 1);
        assert_eq!(set.of_size(1_920, 1_080), 2, "more than there is");
        assert_eq!((set.of_size(0, 180), set.of_size(320, 0)), (0, 0), "one edge is enough");
    }

    #[test]
    fn portrait_is_measured_by_its_width() {
        let set = LayerSet::new(&[layer(Quality::Low, 180, 320), layer(Quality::High, 720, 1_280)], 2);
        assert_eq!(set.of_size(200, 2_000), 0);
        assert_eq!(set.of_size(400, 100), 1);
    }

    #[test]
    fn without_announced_sizes_quarter_half_and_original_are_assumed() {
        let set = LayerSet::new(&[], 3);
        assert_eq!([180, 360, 400, 1_000].map(|height| set.of_size(0, height)), [0, 1, 1, 2]);
        let odd = LayerSet::new(&[layer(Quality::High, 1_280, 720)], 3);
        assert_eq!(odd, set, "an announcement of another number of layers is not believed");
        assert_eq!(LayerSet::new(&[], 0).count(), 1);
        assert_eq!(LayerSet::new(&[], 99).count(), 3);
    }

    #[test]
    fn a_receiver_that_says_nothing_gets_the_best_and_one_that_hides_it_nothing() {
        let now = Instant::now();
        let (set, activity) = (camera(), all_live(now));
        let mut choice = LayerChoice::default();
        assert_eq!(pick(&mut choice, &set, &activity, now), Some(2));
        choice.set_wish(Wish { disabled: true, ..Wish::default() });
        assert_eq!(pick(&mut choice, &set, &activity, now), None);
        choice.set_wish(Wish { quality: Some(Quality::High), width: 320, height: 180, ..Wish::default() });
        assert_eq!(pick(&mut choice, &set, &activity, now), Some(0), "a size outranks a quality");
        choice.set_wish(Wish { quality: Some(Quality::Medium), ..Wish::default() });
        assert_eq!(pick(&mut choice, &set, &activity, now), Some(1));
    }

    #[test]
    fn the_line_caps_the_wish() {
        let now = Instant::now();
        let (set, activity) = (camera(), all_live(now));
        let mut choice = LayerChoice::default();
        choice.set_cap(Cap::UpTo(1));
        assert_eq!((pick(&mut choice, &set, &activity, now), choice.wanted(&set)), (Some(1), Some(2)));
        choice.set_cap(Cap::Pause);
        assert_eq!(pick(&mut choice, &set, &activity, now), None);
        choice.set_cap(Cap::UpTo(200));
        assert_eq!(pick(&mut choice, &set, &activity, now), Some(2));
    }

    #[test]
    fn a_silent_layer_gives_way_to_the_next_lower_and_comes_back() {
        let t0 = Instant::now();
        let set = camera();
        let (mut activity, mut choice) = (all_live(t0), LayerChoice::default());
        let mut now = t0;
        while now < t0 + 600 * MS {
            now += 33 * MS;
            activity.on_layer_packet(0, now);
            activity.on_layer_packet(1, now);
            let expected = if now < t0 + SILENCE_MIN { 2 } else { 1 };
            assert_eq!(pick(&mut choice, &set, &activity, now), Some(expected));
        }
        activity.on_layer_packet(2, now);
        assert_eq!(pick(&mut choice, &set, &activity, now), Some(2));
    }

    #[test]
    fn while_all_layers_are_silent_nothing_moves() {
        let t0 = Instant::now();
        let set = camera();
        let mut activity = LayerActivity::default();
        let mut choice = LayerChoice::default();
        assert_eq!(pick(&mut choice, &set, &activity, t0), Some(2), "before the first packet: what is wanted");
        activity.on_layer_packet(1, t0);
        assert_eq!(pick(&mut choice, &set, &activity, t0), Some(1));
        assert_eq!(pick(&mut choice, &set, &activity, t0 + 60_000 * MS), Some(1), "muted for a minute");
        choice.set_cap(Cap::UpTo(0));
        assert_eq!(pick(&mut choice, &set, &activity, t0 + 60_000 * MS), Some(0));
    }

    #[test]
    fn a_higher_live_layer_is_better_than_none() {
        let t0 = Instant::now();
        let set = camera();
        let mut activity = LayerActivity::default();
        activity.on_layer_packet(2, t0);
        let mut choice = LayerChoice::default();
        choice.set_wish(Wish { quality: Some(Quality::Low), ..Wish::default() });
        assert_eq!(pick(&mut choice, &set, &activity, t0), Some(2));
        choice.set_cap(Cap::UpTo(1));
        assert_eq!(pick(&mut choice, &set, &activity, t0), Some(0), "not above the cap");
    }

    #[test]
    fn a_slow_screen_share_is_given_more_time() {
        let t0 = Instant::now();
        let mut activity = LayerActivity::default();
        for frame in 0..4 {
            // Each frame is a burst of packets, which says nothing of the rate.
            for packet in 0..30 {
                activity.on_layer_packet(0, t0 + 1_000 * MS * frame + MS / 10 * packet);
            }
        }
        let last = t0 + 3_003 * MS;
        assert!(activity.is_live(0, last + 2_800 * MS));
        assert!(!activity.is_live(0, last + 3_100 * MS));
        assert!(activity.next_deadline(last).is_some_and(|deadline| deadline <= last + SILENCE_MAX));
        assert_eq!(activity.next_deadline(last + SILENCE_MAX), None);
    }

    #[test]
    fn a_long_silence_does_not_make_a_camera_slow_for_long() {
        let t0 = Instant::now();
        let mut activity = LayerActivity::default();
        activity.on_layer_packet(0, t0);
        let mut now = t0 + 60_000 * MS;
        for _ in 0..60 {
            activity.on_layer_packet(0, now);
            now += 33 * MS;
        }
        assert!(!activity.is_live(0, now + 500 * MS));
        activity.on_layer_packet(9, now);
        assert!(!activity.is_live(9, now), "no such layer");
    }

    #[test]
    fn a_layer_without_pictures_is_avoided_for_a_while() {
        let now = Instant::now();
        let (set, activity) = (camera(), all_live(now));
        let mut choice = LayerChoice::default();
        assert_eq!(pick(&mut choice, &set, &activity, now), Some(2));
        choice.avoid(now);
        assert_eq!(pick(&mut choice, &set, &activity, now), Some(1));
        assert!(
            !choice.avoids_no_longer(now) && choice.avoids_no_longer(now + AVOIDED) && !choice.avoids_no_longer(now + AVOIDED)
        );
        assert_eq!(pick(&mut choice, &set, &activity, now), Some(2));
    }

    #[test]
    fn in_scalable_coding_a_layer_is_a_part_of_one_stream() {
        let now = Instant::now();
        let announced = [layer(Quality::Low, 320, 180), layer(Quality::Medium, 640, 360), layer(Quality::High, 1_280, 720)];
        let (set, activity) = (LayerSet::scalable(&announced), all_live(now));
        let mut choice = LayerChoice::default();
        assert_eq!(choice.target(&set, &activity, now), Some(LayerTarget::whole(0)));
        choice.set_wish(Wish { quality: Some(Quality::Medium), fps: 15, ..Wish::default() });
        assert_eq!(choice.target(&set, &activity, now), Some(LayerTarget { stream: 0, spatial: 1, temporal: 1 }));
        choice.set_cap(Cap::Layers(0, 0));
        assert_eq!(choice.target(&set, &activity, now), Some(LayerTarget { stream: 0, spatial: 0, temporal: 0 }));
        assert_eq!(LayerSet::scalable(&[]).count(), 1);
    }
}
