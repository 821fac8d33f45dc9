//! Whole batches against packets one by one: the same bytes go out, the same packets come in.

use super::super::proof::{Datagram, Proofs};
use super::super::tests::{pair, rtp};
use super::super::{Profile, SrtpError, SrtpReceiver, SrtpSender};
use crate::media::packet::RtpHeader;
use crate::model::Path;
use crate::transport::outbox::Outbox;
use proptest::collection::vec;
use proptest::prelude::*;
use std::net::SocketAddr;

const CM: Profile = Profile::Aes128CmSha1_80;

fn path() -> Path {
    Path { socket: 0, local: None, remote: SocketAddr::from(([192, 0, 2, 1], 7)) }
}

fn packet(ssrc: u32, sequence: u16, payload: usize) -> Vec<u8> {
    [&rtp(ssrc, sequence)[..20], &vec![sequence as u8; payload]].concat()
}

fn sealed_at_once(sender: &mut SrtpSender, plain: &[u8]) -> Vec<u8> {
    let mut buf = [plain, &[0; 16]].concat();
    let len = sender.seal_rtp(&mut buf, 20, plain.len()).unwrap();
    buf.truncate(len);
    buf
}

/// Seals into a batch, from the same place or from another.
fn push(outbox: &mut Outbox, sender: &mut SrtpSender, plain: &[u8], elsewhere: bool) -> bool {
    outbox.push_sealed(path(), false, |slot, debt| {
        let (header, payload) = plain.split_at(RtpHeader::parse(plain).ok()?.header_len);
        slot[..header.len()].copy_from_slice(header);
        if elsewhere {
            return sender.seal_rtp_from(debt, slot, header.len(), payload).ok();
        }
        slot[..plain.len()].copy_from_slice(plain);
        sender.seal_rtp_on(debt, slot, header.len(), plain.len()).ok()
    })
}

fn datagrams(outbox: &mut Outbox) -> Vec<Vec<u8>> {
    let batch = outbox.finish();
    batch.datagrams().iter().map(|datagram| batch.bytes()[datagram.start..][..datagram.len].to_vec()).collect()
}

/// What somebody does with a batch.
#[derive(Clone, Debug)]
enum Step {
    Seal {
        payload: usize,
        elsewhere: bool,
    },
    /// It is sealed, and then not wanted.
    GiveUp {
        payload: usize,
    },
    /// The thread is lost in the middle of it; others go on.
    Fail {
        payload: usize,
    },
    /// Something else goes out.
    Other {
        len: usize,
    },
    /// The last datagram is looked at, as what goes out twice is.
    Look,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let len = || prop_oneof![1_140..1_150_usize, 0..300_usize];
    let step = prop_oneof![
        12 => (len(), any::<bool>()).prop_map(|(payload, elsewhere)| Step::Seal { payload, elsewhere }),
        1 => len().prop_map(|payload| Step::GiveUp { payload }),
        1 => len().prop_map(|payload| Step::Fail { payload }),
        1 => (1..200_usize).prop_map(|len| Step::Other { len }),
        1 => Just(Step::Look),
    ];
    vec(step, 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_batch_has_the_bytes_of_packets_sealed_one_by_one(rounds in vec(steps(), 1..3), profile in 0..3_usize) {
        let (mut sender, mut alone) = (pair(Profile::ALL[profile]).0, pair(Profile::ALL[profile]).0);
        let (mut outbox, mut sequence) = (Outbox::default(), 0);
        for round in rounds {
            outbox.clear();
            let mut expected: Vec<Vec<u8>> = Vec::new();
            for step in round {
                sequence += 1;
                match step {
                    Step::Seal { payload, elsewhere } => {
                        let plain = packet(7, sequence, payload);
                        prop_assert!(push(&mut outbox, &mut sender, &plain, elsewhere));
                        expected.push(sealed_at_once(&mut alone, &plain));
                    }
                    Step::GiveUp { payload } => {
                        let plain = packet(7, sequence, payload);
                        let kept = outbox.push_sealed(path(), false, |slot, debt| {
                            slot[..plain.len()].copy_from_slice(&plain);
                            sender.seal_rtp_on(debt, slot, 20, plain.len()).ok().and(None)
                        });
                        prop_assert!(!kept);
                    }
                    Step::Fail { payload } => {
                        let plain = packet(7, sequence, payload);
                        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                            outbox.push_sealed(path(), false, |slot, debt| {
                                slot[..plain.len()].copy_from_slice(&plain);
                                sender.seal_rtp_on(debt, slot, 20, plain.len()).ok()?;
                                std::panic::resume_unwind(Box::new(()))
                            })
                        }));
                        prop_assert!(failed.is_err());
                    }
                    Step::Other { len } => {
                        prop_assert!(outbox.push(path(), true, &vec![9; len]));
                        expected.push(vec![9; len]);
                    }
                    Step::Look => prop_assert_eq!(outbox.last(), expected.last().map(Vec::as_slice)),
                }
            }
            prop_assert_eq!(datagrams(&mut outbox), expected.clone());
            prop_assert_eq!(datagrams(&mut outbox), expected, "a second look changes nothing");
        }
    }

    #[test]
    fn a_batch_is_opened_as_its_packets_one_by_one(
        first in prop_oneof![Just(1_u16), 65_400..65_535_u16],
        arrivals in vec((0..150_u16, 0..2_u32, prop_oneof![4 => Just(None), 1 => any::<usize>().prop_map(Some)]), 0..150),
        lengths in vec(prop_oneof![1_140..1_150_usize, 0..300_usize], 150),
    ) {
        let (mut sender, mut receiver) = pair(CM);
        let mut alone = pair(CM).1;
        let sealed: Vec<Vec<Vec<u8>>> = (0..2)
            .map(|ssrc| {
                let plain = |n: u16| packet(ssrc, first.wrapping_add(n), lengths[usize::from(n)]);
                (0..150).map(|n| sealed_at_once(&mut sender, &plain(n))).collect()
            })
            .collect();
        // One stream is known before, the other is not.
        prop_assert_eq!(open(&mut receiver, &sealed[0][..1]), open_alone(&mut alone, &sealed[0][..1]));
        let arrived: Vec<Vec<u8>> = arrivals
            .into_iter()
            .map(|(nth, ssrc, forged)| {
                let mut bytes = sealed[ssrc as usize][usize::from(nth)].clone();
                if let Some(forged) = forged {
                    let bit = forged % (bytes.len() * 8);
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
                bytes
            })
            .collect();
        prop_assert_eq!(open(&mut receiver, &arrived), open_alone(&mut alone, &arrived));
        prop_assert_eq!(receiver.errors(), alone.errors());
        prop_assert_eq!(receiver.streams(), alone.streams());
    }
}

type Opened = Result<(u64, Vec<u8>), SrtpError>;

fn lay_out(arrived: &[Vec<u8>]) -> (Vec<u8>, Vec<(usize, usize)>) {
    let (mut bytes, mut places) = (Vec::new(), Vec::new());
    for datagram in arrived {
        places.push((bytes.len(), datagram.len()));
        bytes.extend_from_slice(datagram);
    }
    (bytes, places)
}

fn opened(receiver: &mut SrtpReceiver, datagram: &mut Datagram<'_>) -> Opened {
    let opened = receiver.open_datagram(datagram)?;
    Ok((opened.index, datagram.as_slice()[..opened.len].to_vec()))
}

/// Opens packets that arrived together.
fn open(receiver: &mut SrtpReceiver, arrived: &[Vec<u8>]) -> Vec<Opened> {
    let (mut bytes, places) = lay_out(arrived);
    let mut proofs = Proofs::default();
    for (start, len) in &places {
        proofs.foresee(receiver, *start, &bytes[*start..][..*len]);
    }
    let mut coming = proofs.make(&mut bytes);
    places.iter().map(|(start, len)| opened(receiver, &mut coming.datagram(*start, *len).unwrap())).collect()
}

fn open_alone(receiver: &mut SrtpReceiver, arrived: &[Vec<u8>]) -> Vec<Opened> {
    arrived.iter().map(|bytes| opened(receiver, &mut Datagram::new(&mut bytes.clone()))).collect()
}

/// A receiver that knows a stream, and the two packets that come next, as they lie behind each other.
fn two_more() -> (SrtpReceiver, Vec<u8>, [(usize, usize); 2]) {
    let (mut sender, mut receiver) = pair(CM);
    let sealed: Vec<_> = (1..4).map(|sequence| sealed_at_once(&mut sender, &packet(7, sequence, 100))).collect();
    open(&mut receiver, &sealed[..1]).remove(0).unwrap();
    let (bytes, places) = lay_out(&sealed[1..]);
    (receiver, bytes, [places[0], places[1]])
}

#[test]
fn what_is_known_of_a_datagram_comes_with_its_place_and_goes_with_its_bytes() {
    let (receiver, mut bytes, [(first, len), (second, _)]) = two_more();
    let Some((key, counter, _)) = receiver.foresee(&bytes[..len]) else { panic!("AES-CM, and a known stream") };
    let foresee = |bytes: &[u8]| {
        let mut proofs = Proofs::default();
        for start in [first, second, second + len - 1] {
            proofs.foresee(&receiver, start, bytes.get(start..start + len).unwrap_or(&bytes[..len]));
        }
        proofs
    };
    let mut proofs = foresee(&bytes);
    let mut coming = proofs.make(&mut bytes);
    let mut proven = |start, len| coming.datagram(start, len).is_some_and(|datagram| datagram.is_proven(&key, counter));
    assert!(!proven(first, len - 1), "another length");
    assert!(!proven(first, len), "it lies over one that was handed out before");
    assert!(proven(second, len));
    assert!(!proven(first, len), "its turn is over");
    assert!(!proven(second + len - 1, len) && !proven(second, usize::MAX), "not all of it is there");

    let mut proofs = foresee(&bytes);
    let mut coming = proofs.make(&mut bytes);
    let mut datagram = coming.datagram(first, len).unwrap();
    assert!(datagram.is_proven(&key, counter));
    assert!(!datagram.is_proven(&key, [0, 0, 0, 1]), "another rollover counter");
    assert!(!datagram.is_proven(&Default::default(), counter), "another key");
    datagram.as_mut_slice();
    assert!(!datagram.is_proven(&key, counter), "somebody may have changed it");
}

#[test]
fn a_packet_is_authenticated_by_itself_where_it_turns_out_to_need_another_counter() {
    let (mut sender, mut receiver) = pair(CM);
    // Foreseen by what is known before: 65,535 and then 0, whose counter the jump from 40,000 does not tell.
    let sequences = [20_000, 40_000, 65_535, 0, 1];
    let sealed = sequences.map(|sequence| sealed_at_once(&mut sender, &packet(7, sequence, 100)));
    open(&mut receiver, &sealed[..1]).remove(0).unwrap();
    let indexes: Vec<_> = open(&mut receiver, &sealed[1..]).into_iter().map(|opened| opened.unwrap().0).collect();
    assert_eq!(indexes, [40_000, 65_535, 65_536, 65_537]);
}

#[test]
fn nothing_is_foreseen_of_gcm_replays_and_strangers() {
    let (mut sender, mut receiver) = pair(CM);
    let sealed = sealed_at_once(&mut sender, &packet(7, 1, 100));
    assert!(receiver.foresee(&sealed).is_none(), "a new stream");
    open(&mut receiver, std::slice::from_ref(&sealed)).remove(0).unwrap();
    assert!(receiver.foresee(&sealed).is_none(), "seen before");
    assert!(receiver.foresee(&sealed_at_once(&mut sender, &packet(7, 2, 100))).is_some());
    assert!(receiver.foresee(&sealed[..9]).is_none(), "too short");
    let (mut sender, mut receiver) = pair(Profile::AeadAes128Gcm);
    let sealed: Vec<_> = (1..3).map(|sequence| sealed_at_once(&mut sender, &packet(7, sequence, 100))).collect();
    open(&mut receiver, &sealed[..1]).remove(0).unwrap();
    assert!(receiver.foresee(&sealed[1]).is_none(), "no tag of its own");
}
