//! Descriptors written by hand, after the examples of the specification's appendix A.10.

use super::*;
use proptest::prelude::*;

/// One template: its layers, what it is to each decode target (`-DSR`), and how far back it refers.
pub(in crate::media) type Row<'a> = (u8, u8, &'a str, &'a [u32]);

/// Two spatial layers that refer to each other in key pictures only, each with two temporal layers (`L2T2_KEY`).
pub(in crate::media) const L2T2_KEY: [Row<'static>; 7] = [
    (0, 0, "SSSS", &[]),
    (0, 0, "SS--", &[4]),
    (0, 1, "-D--", &[2]),
    (1, 0, "--SS", &[1]),
    (1, 0, "--SS", &[4]),
    (1, 1, "---D", &[2]),
    (1, 1, "---D", &[2, 1]),
];

/// Two spatial layers of which the upper always refers to the lower (`L2T1`).
pub(in crate::media) const L2T1: [Row<'static>; 4] =
    [(0, 0, "SS", &[]), (0, 0, "SR", &[2]), (1, 0, "-S", &[1]), (1, 0, "-S", &[2, 1])];

#[derive(Default)]
struct Text(Vec<bool>);

impl Text {
    fn put(&mut self, value: u32, count: u32) -> &mut Self {
        self.0.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        self.0
            .chunks(8)
            .map(|bits| bits.iter().enumerate().fold(0, |byte, (at, bit)| byte | u8::from(*bit) << (7 - at)))
            .collect()
    }
}

/// A descriptor: whether it starts and ends its frame, the row of its template, its number, and the structure where it carries one.
pub(in crate::media) fn descriptor(start: bool, end: bool, row: u8, frame: u16, structure: Option<&[Row<'_>]>) -> Vec<u8> {
    let mut text = Text::default();
    text.put(u32::from(start), 1).put(u32::from(end), 1).put(u32::from(row) + 5, 6).put(u32::from(frame), 16);
    if let Some(rows) = structure {
        text.put(0b1_0000, 5);
        put_structure(&mut text, rows);
    }
    text.bytes()
}

fn put_structure(text: &mut Text, rows: &[Row<'_>]) {
    let targets = rows[0].2.len() as u32;
    text.put(5, 6).put(targets - 1, 5);
    for pair in rows.windows(2) {
        let step = if pair[0].0 != pair[1].0 { 2 } else { u32::from(pair[0].1 != pair[1].1) };
        text.put(step, 2);
    }
    text.put(3, 2);
    for (.., indications, _) in rows {
        for one in indications.bytes() {
            text.put(b"-DSR".iter().position(|known| *known == one).unwrap() as u32, 2);
        }
    }
    for (.., references) in rows {
        for back in *references {
            text.put(1, 1).put(back - 1, 4);
        }
        text.put(0, 1);
    }
    // One chain, which protects every target: a number below targets + 1 takes its bits, one below 1 takes none.
    let width = u32::BITS - (targets + 1).leading_zeros();
    let short = (1 << width) - (targets + 1);
    if 1 < short {
        text.put(1, width - 1)
    } else {
        text.put(1 + short, width)
    };
    for _ in rows {
        text.put(2, 4);
    }
    text.put(1, 1);
    let spatial = rows.iter().map(|row| row.0).max().unwrap();
    for _ in 0..=spatial {
        text.put(639, 16).put(359, 16);
    }
}

#[test]
fn a_structure_comes_with_the_key_frame_and_explains_what_follows() {
    let mut reader = DependencyReader::default();
    assert_eq!(reader.read(&descriptor(true, true, 1, 1, None)), None, "nothing known yet");
    let key = reader.read(&descriptor(true, false, 0, 7, Some(&L2T2_KEY))).unwrap();
    assert!(key.frame_start && !key.frame_end && key.dependencies.is_key() && key.dependencies.opens_structure);
    assert_eq!((key.spatial, key.temporal, key.dependencies.targets, key.dependencies.active), (0, 0, 4, 0b1111));
    let upper = reader.read(&descriptor(true, true, 5, 10, None)).unwrap();
    assert_eq!((upper.spatial, upper.temporal, upper.dependencies.frame), (1, 1, 10));
    let indications: Vec<_> = (0..4).map(|target| upper.dependencies.indication(target)).collect();
    use Indication::{Discardable, NotPresent};
    assert_eq!(indications, [NotPresent, NotPresent, NotPresent, Discardable]);
    assert!(upper.dependencies.refers_only_to(0b10) && !upper.dependencies.refers_only_to(0b1));
    assert_eq!(reader.read(&descriptor(true, true, 9, 11, None)), None, "no such template");
}

#[test]
fn layers_name_decode_targets_and_targets_what_they_contain() {
    let mut reader = DependencyReader::default();
    let keyed = reader.read(&descriptor(true, true, 0, 7, Some(&L2T2_KEY))).unwrap().dependencies;
    assert_eq!([(0, 0), (0, 1), (0, 3), (1, 0), (1, 1), (3, 3)].map(|(s, t)| keyed.target_for(s, t)), [0, 1, 1, 2, 3, 3]);
    assert_eq!([0, 1, 2, 3].map(|target| keyed.spatial(target)), [0, 0, 1, 1]);
    assert_eq!([0, 1, 2, 3].map(|target| keyed.decodable_with(target)), [0b0001, 0b0011, 0b0100, 0b1100], "not the lower size");
    let full = reader.read(&descriptor(true, true, 0, 7, Some(&L2T1))).unwrap().dependencies;
    assert_eq!([0, 1].map(|target| full.decodable_with(target)), [0b01, 0b11]);
    assert_eq!(keyed.members(), 0xffff, "a key frame is for all");
    let upper = reader.read(&descriptor(true, true, 3, 8, None)).unwrap().dependencies;
    assert_eq!(upper.members(), 0xfff0, "spatial layer 1 and above");
}

#[test]
fn targets_the_publisher_stopped_are_not_chosen() {
    let mut reader = DependencyReader::default();
    let mut out = [0; 64];
    let bytes = descriptor(true, true, 0, 7, Some(&L2T2_KEY));
    let len = write_active(&mut out, &bytes, 4, 0b0011).unwrap();
    let described = reader.read(&out[..len]).unwrap().dependencies;
    assert_eq!((described.active, described.says_active, described.target_for(3, 3)), (0b0011, true, 1));
    let later = reader.read(&descriptor(true, true, 1, 9, None)).unwrap().dependencies;
    assert_eq!((later.active, later.says_active), (0b0011, false), "until it says otherwise");
}

#[test]
fn writing_what_is_active_changes_nothing_else() {
    let mut out = [0; 64];
    for (row, structure) in [(0, Some(&L2T2_KEY[..])), (4, None)] {
        let (mut plain, mut marked) = (DependencyReader::default(), DependencyReader::default());
        let key = descriptor(true, true, 0, 7, Some(&L2T2_KEY));
        let _ = (plain.read(&key), marked.read(&key));
        let bytes = descriptor(true, false, row, 900, structure);
        let len = write_active(&mut out, &bytes, 4, 0b0100).unwrap();
        let (before, after) = (plain.read(&bytes).unwrap(), marked.read(&out[..len]).unwrap());
        assert_eq!(after.dependencies.active, 0b0100);
        assert_eq!((before.frame_start, before.frame_end, before.spatial), (after.frame_start, after.frame_end, after.spatial));
        assert_eq!((before.dependencies.frame, before.dependencies.indications), (900, after.dependencies.indications));
        assert_eq!(before.dependencies.references, after.dependencies.references);
        let again = out[..len].to_vec();
        let len = write_active(&mut out, &again, 4, 0b1111).unwrap();
        assert_eq!(marked.read(&out[..len]).unwrap().dependencies.active, 0b1111, "over its own words");
    }
}

#[test]
fn every_truncation_is_nothing_known() {
    let bytes = descriptor(true, true, 0, 7, Some(&L2T2_KEY));
    let mut out = [0; 64];
    for cut in 0..bytes.len() - 1 {
        assert_eq!(DependencyReader::default().read(&bytes[..cut]), None, "{cut}");
        let _ = write_active(&mut out, &bytes[..cut], 4, 1);
    }
}

proptest! {
    #[test]
    fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80), second in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut reader = DependencyReader::default();
        for bytes in [&bytes, &second] {
            if let Some(described) = reader.read(bytes) {
                let _ = described.dependencies.members();
                prop_assert!(described.dependencies.target_for(3, 3) < described.dependencies.targets);
            }
            let mut out = [0; 120];
            let _ = write_active(&mut out, bytes, 16, u16::MAX);
        }
    }
}
