//! The dependency descriptor (AV1 RTP specification, appendix A): which frames a receiver of some layers needs.
//!
//! A publisher describes its layers once, with a key frame, as a structure of templates; later packets only name one of them. A
//! [`DependencyReader`] keeps the structure of one stream and explains its packets; it never looks at a payload. What it
//! says of a frame are its [`Dependencies`]. Odd input is "nothing known".

use super::{MAX_SPATIAL, MAX_TEMPORAL, TARGETS};

/// Templates one structure may have: their ids have 6 bits (A.8.2).
const MAX_TEMPLATES: usize = 64;

/// Decode targets that are told apart: four spatial times four temporal layers. The format has room for 32; a stream that has
/// more than 16 is forwarded whole.
const MAX_TARGETS: u8 = 16;

/// What a frame is to a decode target (A.8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indication {
    /// No part of it.
    NotPresent,
    /// A part that no other frame of it refers to.
    Discardable,
    /// Everything behind it can be decoded if this frame can.
    Switch,
    /// A part that others refer to.
    Required,
}

/// What the descriptor says of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dependencies {
    /// The frame's number.
    pub frame: u16,
    /// The packet carries the structure.
    pub opens_structure: bool,
    /// The packet says itself which decode targets are active.
    pub says_active: bool,
    /// Decode targets of the stream.
    pub targets: u8,
    /// Decode targets the publisher sends now, one bit each.
    pub active: u16,
    /// Two bits for each decode target.
    indications: u32,
    /// Bit n is set where the frame refers to the one n + 1 before it.
    references: u64,
    /// It refers to a frame further back than that.
    refers_far_back: bool,
    /// The decode target for each spatial and temporal layer at most.
    of_layer: [u8; TARGETS],
    /// For each decode target, those whose every frame belongs to it too.
    covers: [u16; MAX_TARGETS as usize],
    /// Spatial layer of each decode target, two bits each.
    spatial_of: u32,
}

/// Which frames before it a frame refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The frame's number.
    pub frame: u16,
    /// Bit n is set where it refers to the one n + 1 before it.
    pub references: u64,
}

impl Dependencies {
    /// Which frames it refers to; nothing where one of them lies too far back to be told.
    #[must_use]
    pub fn needs(&self) -> Option<Needs> {
        (!self.refers_far_back).then_some(Needs { frame: self.frame, references: self.references })
    }

    /// What the frame is to a decode target.
    #[must_use]
    pub fn indication(&self, target: u8) -> Indication {
        match self.indications.checked_shr(2 * u32::from(target)).unwrap_or(0) & 3 {
            0 => Indication::NotPresent,
            1 => Indication::Discardable,
            2 => Indication::Switch,
            _ => Indication::Required,
        }
    }

    /// The best active decode target of no more than these layers; the lowest where all active ones are above.
    #[must_use]
    pub fn target_for(&self, spatial: u8, temporal: u8) -> u8 {
        self.of_layer.get(super::target_index(spatial, temporal)).copied().unwrap_or(0)
    }

    /// Decode targets a receiver of this one can decode.
    #[must_use]
    pub fn decodable_with(&self, target: u8) -> u16 {
        self.covers.get(usize::from(target)).copied().unwrap_or(0) & self.active
    }

    /// Spatial layer of a decode target.
    #[must_use]
    pub fn spatial(&self, target: u8) -> u8 {
        (self.spatial_of.checked_shr(2 * u32::from(target)).unwrap_or(0) & 3) as u8
    }

    /// Whether every frame it refers to is among those before it that were `sent`: bit n stands for the frame n + 1 before it.
    #[must_use]
    pub fn refers_only_to(&self, sent: u64) -> bool {
        !self.refers_far_back && self.references & !sent == 0
    }

    /// Whether it refers to no other frame.
    #[must_use]
    pub fn is_key(&self) -> bool {
        self.references == 0 && !self.refers_far_back
    }

    /// One bit for each pair of spatial and temporal layer whose receivers get the frame.
    #[must_use]
    pub fn members(&self) -> u16 {
        let belongs = |target: &u8| self.indication(*target) != Indication::NotPresent;
        self.of_layer.iter().enumerate().filter(|(_, target)| belongs(target)).fold(0, |mask, (index, _)| mask | 1 << index)
    }
}

/// The layers a frame belongs to, beside its dependencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    /// First packet of its frame.
    pub frame_start: bool,
    /// Last packet of its frame.
    pub frame_end: bool,
    /// Spatial layer.
    pub spatial: u8,
    /// Temporal layer.
    pub temporal: u8,
    /// Its dependencies.
    pub dependencies: Dependencies,
}

#[derive(Clone, Copy, Debug, Default)]
struct Template {
    spatial: u8,
    temporal: u8,
    indications: u32,
    references: u64,
}

#[derive(Clone, Debug)]
struct Structure {
    first_id: u8,
    targets: u8,
    templates: Vec<Template>,
    layers: [(u8, u8); MAX_TARGETS as usize],
    covers: [u16; MAX_TARGETS as usize],
    spatial_of: u32,
}

/// Explains the descriptors of one stream.
#[derive(Debug, Default)]
pub struct DependencyReader {
    /// At most one; boxed, because most streams have none.
    structure: Option<Box<Structure>>,
    active: u16,
    of_layer: [u8; TARGETS],
}

impl DependencyReader {
    /// Reads a descriptor; `None` where it is broken, or refers to a structure that has not come.
    pub fn read(&mut self, bytes: &[u8]) -> Option<Described> {
        let mut bits = Bits { bytes, at: 0 };
        let (frame_start, frame_end) = (bits.flag()?, bits.flag()?);
        let template_id = bits.take(6)? as u8;
        let frame = bits.take(16)? as u16;
        let [mut opens, mut says_active, mut own_indications, mut own_references] = [false; 4];
        if bytes.len() > 3 {
            opens = bits.flag()?;
            says_active = bits.flag()?;
            own_indications = bits.flag()?;
            own_references = bits.flag()?;
            let _own_chains = bits.flag()?;
        }
        let mut active = None;
        if opens {
            let structure = Structure::read(&mut bits)?;
            active = Some(all_of(structure.targets));
            self.structure = Some(Box::new(structure));
        }
        let structure = self.structure.as_deref()?;
        if says_active {
            active = Some(bits.take(u32::from(structure.targets))? as u16);
        }
        if let Some(active) = active {
            self.active = active;
            self.of_layer = structure.targets_by_layer(active);
        }
        let index = (usize::from(template_id) + MAX_TEMPLATES - usize::from(structure.first_id)) % MAX_TEMPLATES;
        let template = structure.templates.get(index)?;
        let mut indications = template.indications;
        if own_indications {
            indications = read_indications(&mut bits, structure.targets)?;
        }
        let (mut references, mut refers_far_back) = (template.references, false);
        if own_references {
            (references, refers_far_back) = read_references(&mut bits)?;
        }
        let dependencies = Dependencies {
            frame,
            opens_structure: opens,
            says_active,
            targets: structure.targets,
            active: self.active,
            indications,
            references,
            refers_far_back,
            of_layer: self.of_layer,
            covers: structure.covers,
            spatial_of: structure.spatial_of,
        };
        Some(Described { frame_start, frame_end, spatial: template.spatial, temporal: template.temporal, dependencies })
    }

    /// Heap bytes held.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let templates = |structure: &Structure| structure.templates.capacity() * size_of::<Template>();
        self.structure.as_deref().map_or(0, |structure| size_of::<Structure>() + templates(structure))
    }
}

impl Structure {
    fn read(bits: &mut Bits<'_>) -> Option<Self> {
        let first_id = bits.take(6)? as u8;
        let targets = bits.take(5)? as u8 + 1;
        if targets > MAX_TARGETS {
            return None;
        }
        let mut templates = read_layers(bits)?;
        for template in &mut templates {
            template.indications = read_indications(bits, targets)?;
        }
        for template in &mut templates {
            while bits.flag()? {
                template.references |= 1 << bits.take(4)?;
            }
        }
        let chains = bits.non_symmetric(u32::from(targets) + 1)? as u8;
        if chains > 0 {
            for _ in 0..targets {
                bits.non_symmetric(u32::from(chains))?;
            }
            bits.skip(templates.len() * usize::from(chains) * 4)?;
        }
        if bits.flag()? {
            let spatial = templates.iter().map(|template| usize::from(template.spatial)).max().unwrap_or(0);
            bits.skip(32 * (spatial + 1))?;
        }
        let mut structure = Self {
            first_id,
            targets,
            templates,
            layers: [(0, 0); MAX_TARGETS as usize],
            covers: [0; MAX_TARGETS as usize],
            spatial_of: 0,
        };
        structure.derive();
        Some(structure)
    }

    /// Layers of each decode target, and which of them are parts of which (A.8.3.4).
    fn derive(&mut self) {
        let belongs = |template: &Template, target: u8| template.indications >> (2 * u32::from(target)) & 3 != 0;
        for target in 0..self.targets {
            let mut layers = (0, 0);
            let mut covers = all_of(self.targets);
            for template in &self.templates {
                if belongs(template, target) {
                    layers = (layers.0.max(template.spatial), layers.1.max(template.temporal));
                } else {
                    // What has this frame and its own does not is no part of it.
                    let others = (0..self.targets).filter(|other| belongs(template, *other));
                    covers = others.fold(covers, |covers, other| covers & !(1 << other));
                }
            }
            if let Some((slot, known)) = self.layers.get_mut(usize::from(target)).zip(self.covers.get_mut(usize::from(target))) {
                (*slot, *known) = (layers, covers);
            }
            self.spatial_of |= u32::from(layers.0) << (2 * u32::from(target));
        }
    }

    fn targets_by_layer(&self, active: u16) -> [u8; TARGETS] {
        let mut table = [0; TARGETS];
        let usable = || (0..self.targets).filter(|target| active & (1 << target) != 0).zip_layers(&self.layers);
        let lowest = usable().min_by_key(|(_, layers)| *layers).map_or(0, |(target, _)| target);
        for spatial in 0..MAX_SPATIAL {
            for temporal in 0..MAX_TEMPORAL {
                let fits = usable().filter(|(_, layers)| layers.0 <= spatial && layers.1.min(MAX_TEMPORAL - 1) <= temporal);
                let best = fits.max_by_key(|(_, layers)| *layers).map_or(lowest, |(target, _)| target);
                if let Some(slot) = table.get_mut(super::target_index(spatial, temporal)) {
                    *slot = best;
                }
            }
        }
        table
    }
}

trait ZipLayers: Iterator<Item = u8> + Sized {
    fn zip_layers(self, layers: &[(u8, u8)]) -> impl Iterator<Item = (u8, (u8, u8))> {
        self.filter_map(|target| Some((target, *layers.get(usize::from(target))?)))
    }
}

impl<I: Iterator<Item = u8>> ZipLayers for I {}

fn all_of(targets: u8) -> u16 {
    ((1u32 << targets) - 1) as u16
}

fn read_layers(bits: &mut Bits<'_>) -> Option<Vec<Template>> {
    let mut templates = Vec::new();
    let (mut spatial, mut temporal) = (0u8, 0u8);
    loop {
        if templates.len() == MAX_TEMPLATES {
            return None;
        }
        templates.push(Template { spatial, temporal, ..Template::default() });
        match bits.take(2)? {
            0 => {}
            1 => temporal += 1,
            2 => (spatial, temporal) = (spatial + 1, 0),
            _ => return Some(templates).filter(|_| spatial < 4 && temporal < 8),
        }
        if spatial >= 4 || temporal >= 8 {
            return None;
        }
    }
}

fn read_indications(bits: &mut Bits<'_>, targets: u8) -> Option<u32> {
    (0..u32::from(targets)).try_fold(0, |all, target| Some(all | bits.take(2)? << (2 * target)))
}

/// References of one frame's own: steps of 4, 8 or 12 bits (A.8.2, `frame_fdiffs`).
fn read_references(bits: &mut Bits<'_>) -> Option<(u64, bool)> {
    let (mut references, mut far) = (0, false);
    loop {
        let size = bits.take(2)?;
        if size == 0 {
            return Some((references, far));
        }
        match bits.take(4 * size)? {
            back @ 0..64 => references |= 1 << back,
            _ => far = true,
        }
    }
}

/// Writes a descriptor that says which decode targets are active, whether it did before or not; `None` where that cannot be
/// done. `targets` is how many the stream has.
pub fn write_active(out: &mut [u8], bytes: &[u8], targets: u8, active: u16) -> Option<usize> {
    let mut bits = Bits { bytes, at: 0 };
    let mut writer = BitWriter { out, at: 0 };
    writer.put(bits.take(24)?, 24)?;
    let (mut opens, mut says_active, mut rest) = (false, false, 0);
    if bytes.len() > 3 {
        (opens, says_active) = (bits.flag()?, bits.flag()?);
        rest = bits.take(3)?;
    }
    writer.put(u32::from(opens), 1)?;
    writer.put(1, 1)?;
    writer.put(rest, 3)?;
    if opens {
        let from = bits.at;
        Structure::skip(&mut bits)?;
        let mut copy = Bits { bytes, at: from };
        writer.copy(&mut copy, bits.at - from)?;
    }
    if says_active {
        bits.take(u32::from(targets))?;
    }
    writer.put(u32::from(active), u32::from(targets))?;
    let left = (bytes.len() * 8).saturating_sub(bits.at);
    writer.copy(&mut bits, left)?;
    // What follows the last field is padding: a byte of it more than needed is harmless, as are up to seven bits.
    Some(writer.at.div_ceil(8))
}

impl Structure {
    /// The same walk as [`Self::read`] without keeping anything, for the packet path.
    fn skip(bits: &mut Bits<'_>) -> Option<()> {
        bits.take(6)?;
        let targets = bits.take(5)? + 1;
        let (mut templates, mut spatial) = (1, 0);
        loop {
            match bits.take(2)? {
                3 => break,
                2 => spatial += 1,
                _ => {}
            }
            templates += 1;
            if templates > MAX_TEMPLATES {
                return None;
            }
        }
        bits.skip(templates * targets as usize * 2)?;
        for _ in 0..templates {
            while bits.flag()? {
                bits.take(4)?;
            }
        }
        let chains = bits.non_symmetric(targets + 1)?;
        if chains > 0 {
            for _ in 0..targets {
                bits.non_symmetric(chains)?;
            }
            bits.skip(templates * chains as usize * 4)?;
        }
        if bits.flag()? {
            bits.skip(32 * (spatial + 1))?;
        }
        Some(())
    }
}

#[derive(Clone, Copy)]
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn flag(&mut self) -> Option<bool> {
        let byte = *self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    /// Up to 32 bits, the first the highest.
    fn take(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0, |value, _| Some(value << 1 | u32::from(self.flag()?)))
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.at = self.at.checked_add(count).filter(|at| *at <= self.bytes.len() * 8)?;
        Some(())
    }

    /// A number below `n`, in one bit less where it is small (AV1 specification, section 4.10.7).
    fn non_symmetric(&mut self, n: u32) -> Option<u32> {
        let width = u32::BITS - n.leading_zeros();
        let short = (1 << width) - n;
        let value = self.take(width - 1)?;
        if value < short { Some(value) } else { Some((value << 1) - short + self.take(1)?) }
    }
}

struct BitWriter<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl BitWriter<'_> {
    fn put(&mut self, value: u32, count: u32) -> Option<()> {
        for bit in (0..count).rev() {
            let byte = self.out.get_mut(self.at / 8)?;
            if self.at.is_multiple_of(8) {
                *byte = 0;
            }
            *byte |= ((value >> bit & 1) as u8) << (7 - self.at % 8);
            self.at += 1;
        }
        Some(())
    }

    fn copy(&mut self, bits: &mut Bits<'_>, mut count: usize) -> Option<()> {
        while count > 0 {
            let step = count.min(32) as u32;
            self.put(bits.take(step)?, step)?;
            count -= step as usize;
        }
        Some(())
    }
}

#[cfg(test)]
pub(in crate::media) mod tests;
