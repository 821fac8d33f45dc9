use bytes::Bytes;
use proptest::prelude::*;
use rtc_rtcp::goodbye::Goodbye;
use rtc_rtcp::packet::{Packet, marshal, unmarshal};
use rtc_rtcp::payload_feedbacks::full_intra_request::{FirEntry, FullIntraRequest};
use rtc_rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc_rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use rtc_rtcp::receiver_report::ReceiverReport;
use rtc_rtcp::reception_report::ReceptionReport;
use rtc_rtcp::sender_report::SenderReport;
use rtc_rtcp::source_description::{SdesType, SourceDescription, SourceDescriptionChunk, SourceDescriptionItem};
use rtc_rtcp::transport_feedbacks::transport_layer_cc::{
    PacketStatusChunk, RecvDelta, StatusChunkTypeTcc, StatusVectorChunk, SymbolSizeTypeTcc, SymbolTypeTcc, TransportLayerCc,
};
use rtc_rtcp::transport_feedbacks::transport_layer_nack::{NackPair, TransportLayerNack};

use super::*;

const SENDER: SenderInfo = SenderInfo { ssrc: 7, ntp: 0x0102_0304_0506_0708, rtp: 99, packets: 1_000, octets: 123_456 };
const BLOCK: ReportBlock = ReportBlock {
    ssrc: 0xAABB_CCDD,
    fraction_lost: 61,
    cumulative_lost: 24,
    highest_sequence: 0x1_0007,
    jitter: 240,
    last_sr: 0x1234_5678,
    delay_since_last_sr: 65_536,
};
const SEQUENCES: [u16; 7] = [10, 11, 26, 27, 28, 500, 516];
const STATUSES: [Option<i16>; 24] = {
    let mut statuses = [None; 24];
    (statuses[0], statuses[1], statuses[2], statuses[5]) = (Some(0), Some(255), Some(256), Some(-3));
    (statuses[8], statuses[9], statuses[23]) = (Some(i16::MAX), Some(i16::MIN), Some(4));
    statuses
};
const HEADER: FeedbackHeader =
    FeedbackHeader { sender: 1, media: 2, base_sequence: 65_530, reference_time: 0x12_3456, feedback_count: 200 };

fn written(write: impl FnOnce(&mut Compound<'_>) -> bool) -> Vec<u8> {
    let mut buffer = [0xEE; 1_200];
    let mut compound = Compound::new(&mut buffer);
    assert!(write(&mut compound));
    let length = compound.len();
    buffer[..length].to_vec()
}

fn their_block() -> ReceptionReport {
    ReceptionReport {
        ssrc: BLOCK.ssrc,
        fraction_lost: BLOCK.fraction_lost,
        total_lost: BLOCK.cumulative_lost as u32,
        last_sequence_number: BLOCK.highest_sequence,
        jitter: BLOCK.jitter,
        last_sender_report: BLOCK.last_sr,
        delay: BLOCK.delay_since_last_sr,
    }
}

fn their_feedback() -> TransportLayerCc {
    use SymbolTypeTcc::{PacketNotReceived as No, PacketReceivedLargeDelta as Large, PacketReceivedSmallDelta as Small};
    let vector = |symbols: [SymbolTypeTcc; 7]| {
        PacketStatusChunk::StatusVectorChunk(StatusVectorChunk {
            type_tcc: StatusChunkTypeTcc::StatusVectorChunk,
            symbol_size: SymbolSizeTypeTcc::TwoBit,
            symbol_list: symbols.to_vec(),
        })
    };
    let one_bit = |symbols: [SymbolTypeTcc; 14]| {
        PacketStatusChunk::StatusVectorChunk(StatusVectorChunk {
            type_tcc: StatusChunkTypeTcc::StatusVectorChunk,
            symbol_size: SymbolSizeTypeTcc::OneBit,
            symbol_list: symbols.to_vec(),
        })
    };
    let mut last = [No; 14];
    last[9] = Small;
    let delta = |symbol, ticks: i64| RecvDelta { type_tcc_packet: symbol, delta: ticks * 250 };
    TransportLayerCc {
        sender_ssrc: 1,
        media_ssrc: 2,
        base_sequence_number: 65_530,
        packet_status_count: 24,
        reference_time: 0x12_3456,
        fb_pkt_count: 200,
        packet_chunks: vec![
            vector([Small, Small, Large, No, No, Large, No]),
            vector([No, Large, Large, No, No, No, No]),
            one_bit(last),
        ],
        recv_deltas: vec![
            delta(Small, 0),
            delta(Small, 255),
            delta(Large, 256),
            delta(Large, -3),
            delta(Large, 32_767),
            delta(Large, -32_768),
            delta(Small, 4),
        ],
    }
}

/// One packet of each kind: ours and theirs.
fn pairs() -> Vec<(&'static str, Vec<u8>, Box<dyn Packet>)> {
    let sdes_item = SourceDescriptionItem { sdes_type: SdesType::SdesCname, text: Bytes::from_static(b"cname") };
    let pair = |packet_id, lost_packets| NackPair { packet_id, lost_packets };
    vec![
        (
            "sender report",
            written(|c| c.sender_report(&SENDER, &[BLOCK, BLOCK])),
            Box::new(SenderReport {
                ssrc: SENDER.ssrc,
                ntp_time: SENDER.ntp,
                rtp_time: SENDER.rtp,
                packet_count: SENDER.packets,
                octet_count: SENDER.octets,
                reports: vec![their_block(), their_block()],
                ..Default::default()
            }),
        ),
        (
            "receiver report",
            written(|c| c.receiver_report(7, &[BLOCK])),
            Box::new(ReceiverReport { ssrc: 7, reports: vec![their_block()], ..Default::default() }),
        ),
        (
            "source description",
            written(|c| c.cname(7, "cname")),
            Box::new(SourceDescription { chunks: vec![SourceDescriptionChunk { source: 7, items: vec![sdes_item] }] }),
        ),
        (
            "nack",
            written(|c| c.nack(1, 2, &SEQUENCES)),
            Box::new(TransportLayerNack {
                sender_ssrc: 1,
                media_ssrc: 2,
                nacks: vec![pair(10, 0x8001), pair(27, 1), pair(500, 0x8000)],
            }),
        ),
        ("picture loss indication", written(|c| c.pli(1, 2)), Box::new(PictureLossIndication { sender_ssrc: 1, media_ssrc: 2 })),
        (
            "full intra request",
            written(|c| c.fir(1, &[(2, 3), (4, 255)])),
            Box::new(FullIntraRequest {
                sender_ssrc: 1,
                media_ssrc: 0,
                fir: vec![FirEntry { ssrc: 2, sequence_number: 3 }, FirEntry { ssrc: 4, sequence_number: 255 }],
            }),
        ),
        ("transport feedback", written(|c| c.transport_feedback(&HEADER, STATUSES.into_iter())), Box::new(their_feedback())),
        ("goodbye", written(|c| c.bye(&[7, 8])), Box::new(Goodbye { sources: vec![7, 8], reason: Bytes::new() })),
    ]
}

fn remb(ssrcs: &[u32]) -> Vec<u8> {
    let remb = ReceiverEstimatedMaximumBitrate { sender_ssrc: 1, bitrate: 1_500_000.0, ssrcs: ssrcs.to_vec() };
    marshal(&[Box::new(remb)]).unwrap().to_vec()
}

/// Reads everything to the end and counts the steps.
fn drain(data: &[u8]) -> (usize, usize) {
    let (mut steps, mut errors) = (0, 0);
    for packet in packets(data) {
        steps += 1;
        steps += match packet {
            Ok(Rtcp::SenderReport { blocks, .. } | Rtcp::ReceiverReport { blocks, .. }) => blocks.count(),
            Ok(Rtcp::Nack { sequences, .. }) => sequences.count(),
            Ok(Rtcp::Fir { entries, .. }) => entries.count(),
            Ok(Rtcp::Remb { ssrcs, .. } | Rtcp::Bye { ssrcs }) => ssrcs.count(),
            Ok(Rtcp::TransportFeedback(feedback)) => {
                let count = feedback.statuses().count();
                assert_eq!(count, usize::from(feedback.status_count), "a checked feedback gives every status");
                count
            }
            Ok(Rtcp::Pli { .. } | Rtcp::Sdes | Rtcp::Other { .. }) => 0,
            Err(_) => {
                errors += 1;
                0
            }
        };
    }
    (steps, errors)
}

#[test]
fn writers_match_an_independent_implementation_byte_for_byte() {
    for (name, ours, theirs) in pairs() {
        let mut bytes = marshal(std::slice::from_ref(&theirs)).unwrap().to_vec();
        if name == "goodbye" {
            // Theirs always has a reason, if an empty one, and pads it.
            assert_eq!(bytes.split_off(12), [0, 0, 0, 3]);
            (bytes[0], bytes[3]) = (0x82, 2);
        }
        assert_eq!(ours, bytes, "{name}");
        assert_eq!(unmarshal(&mut &ours[..]).unwrap(), [theirs], "{name}");
    }
}

#[test]
fn the_reader_reads_what_another_implementation_wrote() {
    let theirs: Vec<Box<dyn Packet>> = pairs().into_iter().map(|(_, _, theirs)| theirs).collect();
    let compound = marshal(&theirs).unwrap();
    let mut read = packets(&compound).map(Result::unwrap);

    let Some(Rtcp::SenderReport { sender, blocks }) = read.next() else { panic!("sender report") };
    assert_eq!((sender, blocks.collect::<Vec<_>>()), (SENDER, vec![BLOCK, BLOCK]));
    let Some(Rtcp::ReceiverReport { ssrc: 7, blocks }) = read.next() else { panic!("receiver report") };
    assert_eq!(blocks.collect::<Vec<_>>(), [BLOCK]);
    assert!(matches!(read.next(), Some(Rtcp::Sdes)));
    let Some(Rtcp::Nack { sender: 1, media: 2, sequences }) = read.next() else { panic!("nack") };
    assert_eq!(sequences.collect::<Vec<_>>(), SEQUENCES);
    assert!(matches!(read.next(), Some(Rtcp::Pli { sender: 1, media: 2 })));
    let Some(Rtcp::Fir { sender: 1, entries }) = read.next() else { panic!("fir") };
    assert_eq!(entries.collect::<Vec<_>>(), [(2, 3), (4, 255)]);
    let Some(Rtcp::TransportFeedback(feedback)) = read.next() else { panic!("transport feedback") };
    assert_eq!(feedback.header, HEADER);
    let statuses: Vec<_> = feedback.statuses().collect();
    assert_eq!(statuses.iter().map(|(_, status)| *status).collect::<Vec<_>>(), STATUSES);
    assert_eq!((statuses[0].0, statuses[6].0), (65_530, 0));
    let Some(Rtcp::Bye { ssrcs }) = read.next() else { panic!("goodbye") };
    assert_eq!(ssrcs.collect::<Vec<_>>(), [7, 8]);
    assert!(read.next().is_none());

    let remb = remb(&[5, 6]);
    let Some(Ok(Rtcp::Remb { bitrate: 1_500_000, ssrcs })) = packets(&remb).next() else { panic!("remb") };
    assert_eq!(ssrcs.collect::<Vec<_>>(), [5, 6]);
}

#[test]
fn a_negative_total_of_lost_packets_survives() {
    let block = ReportBlock { cumulative_lost: -5, ..BLOCK };
    let bytes = written(|c| c.receiver_report(1, &[block]));
    let Some(Ok(Rtcp::ReceiverReport { mut blocks, .. })) = packets(&bytes).next() else { panic!("receiver report") };
    assert_eq!(blocks.next(), Some(block));
}

#[test]
fn a_reference_time_has_a_sign() {
    let header = FeedbackHeader { reference_time: -2, ..HEADER };
    let bytes = written(|c| c.transport_feedback(&header, [Some(1)].into_iter()));
    let Some(Ok(Rtcp::TransportFeedback(feedback))) = packets(&bytes).next() else { panic!("feedback") };
    assert_eq!(feedback.header, header);
}

#[test]
fn every_truncation_and_every_flip_is_survived() {
    let mut kinds: Vec<Vec<u8>> = pairs().into_iter().map(|(_, ours, _)| ours).collect();
    kinds.push(remb(&[5, 6]));
    let compound = kinds.concat();
    kinds.push(compound);
    let (mut tried, mut refused) = (0, 0);
    for kind in &kinds {
        for length in 0..kind.len() {
            let (_, errors) = drain(&kind[..length]);
            tried += 1;
            refused += usize::from(errors > 0);
        }
        for index in 0..kind.len() {
            for flip in 1..=255 {
                let mut bytes = kind.clone();
                bytes[index] ^= flip;
                let (steps, errors) = drain(&bytes);
                assert!(steps <= MAX_PACKETS + usize::from(MAX_STATUSES) + bytes.len() * 5, "{steps}");
                tried += 1;
                refused += usize::from(errors > 0);
            }
        }
    }
    println!("{tried} damaged packets, {refused} refused");
    assert!(tried > 100_000 && refused > 10_000, "{tried} {refused}");
}

#[test]
fn every_short_buffer_is_refused_and_left_alone() {
    for (name, ours, _) in pairs() {
        let mut buffer = vec![0; ours.len()];
        for length in 0..ours.len() {
            let mut compound = Compound::new(&mut buffer[..length]);
            let fit = match name {
                "sender report" => compound.sender_report(&SENDER, &[BLOCK, BLOCK]),
                "receiver report" => compound.receiver_report(7, &[BLOCK]),
                "source description" => compound.cname(7, "cname"),
                "nack" => compound.nack(1, 2, &SEQUENCES),
                "picture loss indication" => compound.pli(1, 2),
                "full intra request" => compound.fir(1, &[(2, 3), (4, 255)]),
                "transport feedback" => compound.transport_feedback(&HEADER, STATUSES.into_iter()),
                _ => compound.bye(&[7, 8]),
            };
            assert!(!fit && compound.is_empty(), "{name} in {length}");
        }
    }
    let mut buffer = [0; 1_200];
    let mut compound = Compound::new(&mut buffer);
    assert!(!compound.receiver_report(1, &[BLOCK; 32]) && !compound.nack(1, 2, &[]) && !compound.fir(1, &[]));
    assert!(!compound.bye(&[]) && !compound.bye(&[1; 32]) && !compound.cname(1, &"x".repeat(256)));
    assert!(!compound.transport_feedback(&HEADER, std::iter::empty()));
    assert!(compound.receiver_report(1, &[BLOCK; 31]) && compound.cname(1, &"x".repeat(255)), "positive control");
}

fn only_error(data: &[u8]) -> RtcpError {
    let mut all = packets(data);
    let error = all.next().unwrap().unwrap_err();
    assert!(all.next().is_none());
    error
}

#[test]
fn malformed_packets_are_named() {
    assert!(packets(&[]).next().is_none());
    assert_eq!(only_error(&[0x80, 201, 0]), RtcpError::Truncated);
    assert_eq!(only_error(&[0x40, 201, 0, 1, 0, 0, 0, 0]), RtcpError::Version);
    assert_eq!(only_error(&[0x80, 201, 0, 0]), RtcpError::Truncated);
    assert_eq!(only_error(&[0x80, 201, 0, 2, 0, 0, 0, 0]), RtcpError::Truncated);
    assert_eq!(only_error(&[0x81, 201, 0, 1, 0, 0, 0, 0]), RtcpError::Count, "block count");
    assert_eq!(only_error(&[0xA0, 201, 0, 1, 0, 0, 0, 0]), RtcpError::Padding, "padding of zero");
    assert_eq!(only_error(&[0xA0, 201, 0, 1, 0, 0, 0, 5]), RtcpError::Padding, "longer than the packet");
    assert_eq!(only_error(&[0xA0, 201, 0, 0]), RtcpError::Padding, "padding of nothing");
    assert_eq!(only_error(&[0x81, 205, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]), RtcpError::Count, "empty NACK");
    let mut over = remb(&[5, 6]);
    over[16] = 3;
    assert_eq!(only_error(&over), RtcpError::Count, "REMB count");
    let mut huge = remb(&[]);
    huge[17] |= 0xFC;
    assert_eq!(only_error(&huge), RtcpError::Bitrate);
}

fn feedback(count: u16, chunks: &[u16], deltas: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 0, 0, 1, 0, 0, 0, 2, 0, 9];
    body.extend(count.to_be_bytes());
    body.extend([0, 0, 0, 0]);
    body.extend(chunks.iter().flat_map(|chunk| chunk.to_be_bytes()));
    body.extend(deltas);
    body.resize(body.len().next_multiple_of(4), 0);
    let mut packet = vec![0x8F, 205, 0, (body.len() / 4) as u8];
    packet.extend(body);
    packet
}

#[test]
fn malformed_transport_feedback_is_named() {
    assert_eq!(drain(&feedback(2, &[0x2002], &[1, 2])), (3, 0), "positive control: a run of two small deltas");
    assert_eq!(drain(&feedback(2, &[0x8000 | 3 << 12], &[1, 2])), (3, 0), "a vector may be longer than the count");
    assert_eq!(only_error(&feedback(0, &[0x2001], &[1])), RtcpError::Count, "no statuses");
    assert_eq!(only_error(&feedback(2, &[0x2000, 0x2002], &[1, 2])), RtcpError::Status, "run of zero");
    assert_eq!(only_error(&feedback(2, &[0x2003], &[1, 2])), RtcpError::Status, "run beyond the count");
    assert_eq!(only_error(&feedback(2, &[0x6002], &[1, 2])), RtcpError::Status, "reserved symbol in a run");
    assert_eq!(only_error(&feedback(2, &[0xF000], &[1, 2])), RtcpError::Status, "reserved symbol in a vector");
    assert_eq!(only_error(&feedback(9, &[0x4009], &[1, 2])), RtcpError::Count, "deltas missing");
    assert_eq!(only_error(&feedback(30, &[0x0001, 0x0001], &[])), RtcpError::Truncated, "chunks missing");
    assert_eq!(only_error(&feedback(8_193, &[0x1FFF, 0x0002], &[])), RtcpError::TooMany);
}

#[test]
fn work_per_compound_is_bounded() {
    let goodbye = [0x80, GOODBYE, 0, 0].repeat(65);
    assert_eq!(drain(&goodbye), (65, 1), "64 packets and an error");
    let mut feedbacks = feedback(8_000, &[0x1F40], &[]).repeat(60);
    feedbacks.extend([0x80, GOODBYE, 0, 0]);
    assert_eq!(drain(&feedbacks), (8_000 + 61, 59), "one feedback's statuses, the others refused, the rest read");
    let mut nack = vec![0x81, 205, 0, 102];
    nack.extend([0; 8]);
    nack.extend([0xFF; 400]);
    assert_eq!(drain(&nack), (1 + MAX_NACKED, 0), "1,700 asked for");
}

#[test]
fn a_broken_packet_does_not_hide_the_next() {
    let mut bytes = feedback(0, &[0x2001], &[1]);
    bytes.extend(written(|c| c.pli(1, 2)));
    let read: Vec<_> = packets(&bytes).collect();
    assert!(matches!(read[..], [Err(RtcpError::Count), Ok(Rtcp::Pli { sender: 1, media: 2 })]));
}

#[test]
fn nack_packs_across_the_wrap() {
    let sequences = [65_530, 65_535, 0, 9, 10, 27];
    let bytes = written(|c| c.nack(1, 2, &sequences));
    assert_eq!(bytes.len(), 12 + 2 * 4, "65530 to 10 in one pair");
    let Some(Ok(Rtcp::Nack { sequences: read, .. })) = packets(&bytes).next() else { panic!("nack") };
    assert_eq!(read.collect::<Vec<_>>(), sequences);
}

#[test]
fn debug_shows_no_packet_contents() {
    let bytes = written(|c| c.nack(1, 2, &SEQUENCES));
    let printed = format!("{:?}", packets(&bytes).collect::<Vec<_>>());
    assert!(printed.contains("NackedNumbers(…)"), "{printed}");
}

proptest! {
    #[test]
    fn random_bytes_are_survived(data in prop::collection::vec(any::<u8>(), 0..256)) {
        drain(&data);
    }

    /// Random bodies behind a good header reach further than random bytes.
    #[test]
    fn random_bodies_are_survived(packet_type in 200_u8..=207, first in 0_u8..64, words in 0_usize..60, data in prop::collection::vec(any::<u8>(), 240)) {
        let mut packet = vec![0x80 | first, packet_type, 0, words as u8];
        packet.extend(&data[..words * 4]);
        drain(&packet);
    }

    #[test]
    fn statuses_come_back_as_written(
        statuses in prop::collection::vec(prop_oneof![4 => Just(None), 4 => (0_i16..256).prop_map(Some), 1 => any::<i16>().prop_map(Some)], 1..300),
        run in 0_usize..9_000,
    ) {
        let mut statuses = statuses;
        let room = usize::from(MAX_STATUSES) - statuses.len();
        statuses.splice(0..0, std::iter::repeat_n(None, run.min(room)));
        // Another reader refuses a packet that ends with its chunks.
        statuses.push(Some(1));
        statuses.truncate(usize::from(MAX_STATUSES));
        let bytes = written(|c| c.transport_feedback(&HEADER, statuses.iter().copied()));
        let Some(Ok(Rtcp::TransportFeedback(feedback))) = packets(&bytes).next() else { panic!("feedback") };
        let read: Vec<_> = feedback.statuses().map(|(_, status)| status).collect();
        prop_assert_eq!(&read, &statuses);
        if let Some(last) = statuses.last() && last.is_some() {
            let theirs = unmarshal(&mut &bytes[..]).unwrap();
            let theirs = theirs[0].as_any().downcast_ref::<TransportLayerCc>().unwrap();
            let deltas: Vec<i64> = statuses.iter().flatten().map(|delta| i64::from(*delta) * 250).collect();
            prop_assert_eq!(theirs.recv_deltas.iter().map(|delta| delta.delta).collect::<Vec<_>>(), deltas);
        }
    }

    #[test]
    fn nacked_numbers_come_back_as_written(first: u16, steps in prop::collection::vec(1_u16..40, 0..200)) {
        let mut sequences = vec![first];
        sequences.extend(steps.iter().scan(first, |at, step| { *at = at.wrapping_add(*step); Some(*at) }));
        let bytes = written(|c| c.nack(1, 2, &sequences));
        let Some(Ok(Rtcp::Nack { sequences: read, .. })) = packets(&bytes).next() else { panic!("nack") };
        prop_assert_eq!(read.collect::<Vec<_>>(), sequences);
    }
}
