//! Every width against the cryptographic library, byte for byte.

use super::*;
use aws_lc_rs::hmac;
use lanes::{Eight, Sixteen};
use proptest::collection::vec;
use proptest::prelude::*;

fn expected(key: &[u8; 20], text: &[u8], trailer: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key), &[text, trailer].concat()).as_ref().to_vec()
}

/// What this processor can do, one by one included.
fn widths() -> impl Iterator<Item = Width> {
    let wider = [Sixteen::detected().map(Width::Sixteen), Eight::detected().map(Width::Eight)];
    wider.into_iter().flatten().chain([Width::One])
}

/// Compares the tags of some texts, each under a key of its own.
fn compare(mut texts: Vec<([u8; 20], Vec<u8>, [u8; 4])>) {
    texts.sort_by_key(|(_, text, _)| std::cmp::Reverse(text.len()));
    let messages: Vec<_> = texts.iter().map(|(key, text, trailer)| Message::new(HmacKey::new(key), text, trailer)).collect();
    for width in widths() {
        for (texts, messages) in texts.chunks(GROUP).zip(messages.chunks(GROUP)) {
            let tags = tags_by(width, messages);
            for ((key, text, trailer), tag) in texts.iter().zip(tags) {
                assert_eq!(tag.as_slice(), expected(key, text, trailer), "{} bytes of {}", text.len(), texts.len());
            }
        }
    }
}

#[test]
fn one_tag_is_that_of_another_library() {
    for len in (0..=200).chain([640, 1_150, 1_490]) {
        let (key, text) = ([len as u8; 20], vec![0xa5; len]);
        for trailer in [&[][..], &[1, 2, 3, 4]] {
            assert_eq!(HmacKey::new(&key).tag(&text, trailer).as_slice(), expected(&key, &text, trailer), "{len}");
            assert_eq!(Message::new(HmacKey::new(&key), &text, &[0; 4]).blocks(), blocks_of(len), "{len}");
        }
    }
}

#[test]
fn any_number_of_equally_long_messages_goes_side_by_side() {
    for count in 0..=GROUP {
        for len in [0, 51, 52, 63, 64, 115, 116, 1_166] {
            compare((0..count as u8).map(|n| ([n; 20], vec![n ^ 0x5a; len], [n, 0, 0, n])).collect());
        }
    }
}

proptest! {
    #[test]
    fn texts_of_any_lengths_have_the_tags_of_another_library(
        texts in vec((any::<[u8; 20]>(), vec(any::<u8>(), 0..1_500), any::<[u8; 4]>()), 0..40),
    ) {
        compare(texts);
    }

    #[test]
    fn so_have_frames_with_sound_between_them(
        texts in vec((any::<[u8; 20]>(), prop_oneof![3 => 1_160..1_170_usize, 1 => 80..130_usize], any::<u8>()), 0..40),
    ) {
        compare(texts.into_iter().map(|(key, len, byte)| (key, vec![byte; len], [0, 0, 0, byte])).collect());
    }
}
