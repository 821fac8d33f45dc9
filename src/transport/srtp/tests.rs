//! Whole packets: published vectors, vectors of an independent implementation, and attacks.

use proptest::collection::vec;
use proptest::prelude::*;

use super::cipher::Cipher;
use super::gcm::Gcm;
use super::*;
use crate::media::packet::{OutgoingHeader, RtpHeader, write_header};

/// Reads hexadecimal with blanks in it.
pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).unwrap() as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn material(profile: Profile) -> Vec<u8> {
    (0..profile.keying_material_len()).map(|i| (7 * i + 3) as u8).collect()
}

/// A client's sender and our receiver, as DTLS server.
pub(super) fn pair(profile: Profile) -> (SrtpSender, SrtpReceiver) {
    let (_, outbound) = SessionKeys::split(profile, &material(profile), false).unwrap();
    let (inbound, _) = SessionKeys::split(profile, &material(profile), true).unwrap();
    (SrtpSender::new(outbound).unwrap(), SrtpReceiver::new(inbound).unwrap())
}

fn seal_rtp(sender: &mut SrtpSender, plain: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut buf = [plain, &[0; 16]].concat();
    let header_len = RtpHeader::parse(plain)?.header_len;
    let len = sender.seal_rtp(&mut buf, header_len, plain.len())?;
    buf.truncate(len);
    Ok(buf)
}

fn seal_rtcp(sender: &mut SrtpSender, plain: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut buf = [plain, &[0; 20]].concat();
    let len = sender.seal_rtcp(&mut buf, plain.len())?;
    buf.truncate(len);
    Ok(buf)
}

fn open_rtp(receiver: &mut SrtpReceiver, sealed: &[u8]) -> Result<(Vec<u8>, u64), SrtpError> {
    let mut buf = sealed.to_vec();
    let opened = receiver.open_rtp(&mut buf)?;
    buf.truncate(opened.len);
    Ok((buf, opened.index))
}

fn open_rtcp(receiver: &mut SrtpReceiver, sealed: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut buf = sealed.to_vec();
    let len = receiver.open_rtcp(&mut buf)?;
    buf.truncate(len);
    Ok(buf)
}

pub(super) fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut out = [0; 64];
    let header = OutgoingHeader { marker: false, payload_type: 111, sequence, timestamp: 960, ssrc };
    let len = write_header(&mut out, &header, &[(3, &[0x9E])]).unwrap();
    [&out[..len], b"said in confidence"].concat()
}

/// A picture loss indication.
fn rtcp(ssrc: u32) -> Vec<u8> {
    [&[0x81, 206, 0, 2][..], &ssrc.to_be_bytes(), &[0, 0, 0, 9]].concat()
}

mod vectors {
    use super::*;

    const SALT: &str = "517569642070726f2071756f";
    const RTP: &str = "8040f17b8041f8d35501a0b2 47616c6c696120657374206f6d6e6973206469766973 6120696e207061727465732074726573";
    const RTCP: &str = "81c8000d4d617273 4e5450314e545032525450200000042a0000e9304c756e61
        deadbeefdeadbeefdeadbeefdeadbeefdeadbeef";
    const RTP_128: &str = "8040f17b8041f8d35501a0b2 f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833
        899d7f27beb16a9152cf765ee4390cce";
    const RTP_256: &str = "8040f17b8041f8d35501a0b2 32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b
        7aa3db36dfffd6b0f9bb7878d7a76c13";
    const RTCP_128: &str = "81c8000d4d617273 63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded
        0bb9275bc84aa45896cf4d2fc5abf87245d9eade 800005d4";
    const RTCP_256: &str = "81c8000d4d617273 d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658c61de047
        6f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be 800005d4";
    /// Sections 17.3 and 17.4: tagged, not encrypted.
    const RTCP_128_CLEAR: &str = "841dd9683dd78ec92ae58790125f62b3 000005d4";
    const RTCP_256_CLEAR: &str = "91db4afbfeee5a978fab4393ed2615fe 000005d4";

    fn cases() -> [(Profile, [&'static str; 3]); 2] {
        [
            (Profile::AeadAes128Gcm, [RTP_128, RTCP_128, RTCP_128_CLEAR]),
            (Profile::AeadAes256Gcm, [RTP_256, RTCP_256, RTCP_256_CLEAR]),
        ]
    }

    /// The vectors give session keys, not master keys.
    fn cipher(profile: Profile) -> Cipher {
        let key: Vec<u8> = (0..profile.key_len() as u8).collect();
        Cipher::Gcm(Gcm::new(&key, hex(SALT).try_into().unwrap()).unwrap())
    }

    #[test]
    fn srtp_is_that_of_rfc_7714_section_16() {
        for (profile, [sealed, ..]) in cases() {
            let mut sender = SrtpSender::with_ciphers(profile, cipher(profile), cipher(profile));
            let mut receiver = SrtpReceiver::with_ciphers(profile, cipher(profile), cipher(profile));
            assert_eq!(seal_rtp(&mut sender, &hex(RTP)).unwrap(), hex(sealed), "{profile:?}");
            assert_eq!(open_rtp(&mut receiver, &hex(sealed)), Ok((hex(RTP), 0xF17B)), "{profile:?}");
        }
    }

    #[test]
    fn srtcp_is_that_of_rfc_7714_section_17() {
        for (profile, [_, sealed, clear]) in cases() {
            let mut sender = SrtpSender::with_ciphers(profile, cipher(profile), cipher(profile));
            sender.wind_on(0x4D61_7273, 0, 0x5D3);
            let mut receiver = SrtpReceiver::with_ciphers(profile, cipher(profile), cipher(profile));
            assert_eq!(seal_rtcp(&mut sender, &hex(RTCP)).unwrap(), hex(sealed), "{profile:?}");
            let clear = [hex(RTCP), hex(clear)].concat();
            assert_eq!(open_rtcp(&mut receiver, &clear), Err(SrtpError::Unencrypted), "{profile:?}: our policy");
            assert_eq!(open_rtcp(&mut receiver, &hex(sealed)), Ok(hex(RTCP)), "{profile:?}");
        }
    }

    /// From a second implementation, in Python: sequence numbers 65535 and 0 with rollover, contributing sources, extension and
    /// padding; then an encrypted RTCP packet with index 1 and a clear one with index 2.
    fn independent(profile: Profile) -> [&'static str; 4] {
        match profile {
            Profile::AeadAes128Gcm => [
                "b2e0ffff00112233cafebabe0102030405060708bede00011042aa00070d91cb8fec8198cca0200c5db4509c22cb57095399d79588351b52
                 e693c91bc8d1b1a89ce92ace1ef932ea058ba6d3",
                "b2e0000000112233cafebabe0102030405060708bede00011042aa00a5cd1353bb10205457aa9ae9981021aea2d4ba8c1df9548fc82ff5a4
                 0fa53cb72a84e5ca19cedc1bdc7778d9520663c8",
                "81c90007cafebabe4937861494196dd81fb6868b47cd28f42303824f70ada1e76c4ab0ec9788850c1cfd60a48b6712b48cf81dd8e4afec69
                 09b4513080000001",
                "81c90007cafebabe0badf00d000000000000000000000000000000000000000081ce0002cafebabe0badf00dfa7253be400d2e8f00ddb952
                 1dbc467c00000002",
            ],
            Profile::AeadAes256Gcm => [
                "b2e0ffff00112233cafebabe0102030405060708bede00011042aa0078584128047085db395343c0e7d9c2a12bf44229c3823257603a61d2
                 a7da755c6ee566a2b66935922fdb220705a1d789",
                "b2e0000000112233cafebabe0102030405060708bede00011042aa00163f0be98d66f2210e8ef7a3fae5af26becd29d1ff19f311ffc37f05
                 2f7d8dc1ac4b1e0c26f8a301564468a2583a49b3",
                "81c90007cafebabeb430f31d835e20247e670ecaecc9ba5ff7c98a77c710ddc9401439fe9c19069085ffdc1c631d6f18966fbe151fd6497f
                 eef861cb80000001",
                "81c90007cafebabe0badf00d000000000000000000000000000000000000000081ce0002cafebabe0badf00dfb19a763517f92dd6296f6fc
                 a185c4bd00000002",
            ],
            Profile::Aes128CmSha1_80 => [
                "b2e0ffff00112233cafebabe0102030405060708bede00011042aa0031b25a93aa4fff1f06e2599f1e91e80a7185ca07c51123446141fdd3
                 940df0410966d7a0bed82ba43992",
                "b2e0000000112233cafebabe0102030405060708bede00011042aa00ec6795073631fb14b8c579d3d3740638ba10a311a89cddba4d22091f
                 cf5a1fc31628785eafbc78637e34",
                "81c90007cafebabe3375fa83fe0fa62c072ad8ecff8114afe14fdc5c8e8a3b5d8dc96a27175f0b1311fc111e80000001d56346eeef9ed67a
                 c0eb",
                "81c90007cafebabe0badf00d000000000000000000000000000000000000000081ce0002cafebabe0badf00d000000029ac298c70c791b36
                 7a7d",
            ],
        }
    }

    #[test]
    fn an_independent_implementation_agrees_from_dtls_material_to_wire() {
        let plain_rtp = hex("b2e0ffff00112233cafebabe0102030405060708bede00011042aa00
            6120636f6e73756c746174696f6e20696e20636f6e666964656e636500000004");
        let next_rtp = [&plain_rtp[..2], &[0, 0], &plain_rtp[4..]].concat();
        let plain_rtcp = hex("81c90007cafebabe0badf00d0000000000000000000000000000000000000000 81ce0002cafebabe0badf00d");
        for profile in Profile::ALL {
            let [first, second, encrypted, clear] = independent(profile).map(hex);
            let (mut sender, mut receiver) = pair(profile);
            assert_eq!(seal_rtp(&mut sender, &plain_rtp).unwrap(), first, "{profile:?}");
            assert_eq!(seal_rtp(&mut sender, &next_rtp).unwrap(), second, "{profile:?}");
            assert_eq!(seal_rtcp(&mut sender, &plain_rtcp).unwrap(), encrypted, "{profile:?}");
            assert_eq!(open_rtp(&mut receiver, &first), Ok((plain_rtp.clone(), 0xFFFF)), "{profile:?}");
            assert_eq!(open_rtp(&mut receiver, &second), Ok((next_rtp.clone(), 0x1_0000)), "{profile:?}");
            assert_eq!(open_rtcp(&mut receiver, &encrypted), Ok(plain_rtcp.clone()), "{profile:?}");
            let expected = if profile.is_aead() { Err(SrtpError::Unencrypted) } else { Ok(plain_rtcp.clone()) };
            assert_eq!(open_rtcp(&mut receiver, &clear), expected, "{profile:?}");
        }
    }
}

mod receiving {
    use super::*;

    #[test]
    fn every_flipped_bit_is_refused_and_changes_nothing() {
        for profile in Profile::ALL {
            for known_stream in [false, true] {
                let (mut sender, mut receiver) = pair(profile);
                let (first_rtp, first_rtcp) =
                    (seal_rtp(&mut sender, &rtp(7, 1)).unwrap(), seal_rtcp(&mut sender, &rtcp(7)).unwrap());
                if known_stream {
                    open_rtp(&mut receiver, &first_rtp).unwrap();
                    open_rtcp(&mut receiver, &first_rtcp).unwrap();
                }
                let streams = receiver.streams();
                let sealed = seal_rtp(&mut sender, &rtp(7, 2)).unwrap();
                for bit in 0..sealed.len() * 8 {
                    let mut forged = sealed.clone();
                    forged[bit / 8] ^= 1 << (bit % 8);
                    assert!(open_rtp(&mut receiver, &forged).is_err(), "{profile:?} RTP bit {bit}");
                }
                assert_eq!(open_rtp(&mut receiver, &sealed), Ok((rtp(7, 2), 2)), "{profile:?}");
                let sealed = seal_rtcp(&mut sender, &rtcp(7)).unwrap();
                for bit in 0..sealed.len() * 8 {
                    let mut forged = sealed.clone();
                    forged[bit / 8] ^= 1 << (bit % 8);
                    assert!(open_rtcp(&mut receiver, &forged).is_err(), "{profile:?} RTCP bit {bit}");
                }
                assert_eq!(open_rtcp(&mut receiver, &sealed), Ok(rtcp(7)), "{profile:?}");
                assert_eq!(receiver.streams(), if known_stream { streams } else { 2 });
            }
        }
    }

    #[test]
    fn every_truncation_is_refused() {
        for profile in Profile::ALL {
            let (mut sender, mut receiver) = pair(profile);
            let (sealed_rtp, sealed_rtcp) =
                (seal_rtp(&mut sender, &rtp(7, 1)).unwrap(), seal_rtcp(&mut sender, &rtcp(7)).unwrap());
            for len in 0..sealed_rtp.len() {
                assert!(open_rtp(&mut receiver, &sealed_rtp[..len]).is_err(), "{profile:?} RTP {len}");
            }
            for len in 0..sealed_rtcp.len() {
                assert!(open_rtcp(&mut receiver, &sealed_rtcp[..len]).is_err(), "{profile:?} RTCP {len}");
            }
            assert_eq!(receiver.streams(), 0);
            assert!(open_rtp(&mut receiver, &sealed_rtp).is_ok() && open_rtcp(&mut receiver, &sealed_rtcp).is_ok());
        }
    }

    #[test]
    fn a_packet_without_payload_opens() {
        for profile in Profile::ALL {
            let (mut sender, mut receiver) = pair(profile);
            let plain = rtp(7, 1)[..20].to_vec();
            let sealed = seal_rtp(&mut sender, &plain).unwrap();
            assert_eq!(open_rtp(&mut receiver, &sealed), Ok((plain, 1)));
            let sealed = seal_rtcp(&mut sender, &rtcp(7)[..8]).unwrap();
            assert_eq!(open_rtcp(&mut receiver, &sealed), Ok(rtcp(7)[..8].to_vec()));
        }
    }

    #[test]
    fn a_replay_is_refused_and_counted() {
        for profile in Profile::ALL {
            let (mut sender, mut receiver) = pair(profile);
            let packets: Vec<_> = (0..1025).map(|sequence| seal_rtp(&mut sender, &rtp(7, sequence)).unwrap()).collect();
            open_rtp(&mut receiver, &packets[1024]).unwrap();
            assert_eq!(open_rtp(&mut receiver, &packets[0]), Err(SrtpError::Replay), "older than the window");
            for packet in &packets[1..1024] {
                open_rtp(&mut receiver, packet).unwrap();
            }
            assert!(packets.iter().all(|packet| open_rtp(&mut receiver, packet) == Err(SrtpError::Replay)));
            let sealed = seal_rtcp(&mut sender, &rtcp(7)).unwrap();
            open_rtcp(&mut receiver, &sealed).unwrap();
            assert_eq!(open_rtcp(&mut receiver, &sealed), Err(SrtpError::Replay));
            assert_eq!(receiver.errors().of(SrtpError::Replay), 1 + 1025 + 1);
            assert_eq!(receiver.errors().total(), receiver.errors().of(SrtpError::Replay));
        }
    }

    #[test]
    fn forged_sources_leave_no_state() {
        for profile in [Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80] {
            let (mut sender, mut receiver) = pair(profile);
            let sealed = seal_rtp(&mut sender, &rtp(7, 1)).unwrap();
            let sealed_rtcp = seal_rtcp(&mut sender, &rtcp(7)).unwrap();
            for forgery in 0..10_000_u32 {
                let ssrc = forgery.wrapping_mul(0x9E37_79B9).wrapping_add(8).to_be_bytes();
                let (mut packet, mut report) = (sealed.clone(), sealed_rtcp.clone());
                packet[8..12].copy_from_slice(&ssrc);
                report[4..8].copy_from_slice(&ssrc);
                assert_eq!(open_rtp(&mut receiver, &packet), Err(SrtpError::Auth));
                assert_eq!(open_rtcp(&mut receiver, &report), Err(SrtpError::Auth));
            }
            assert_eq!(receiver.streams(), 0);
            assert_eq!(receiver.errors().of(SrtpError::Auth), 20_000);
            assert!(open_rtp(&mut receiver, &sealed).is_ok() && open_rtcp(&mut receiver, &sealed_rtcp).is_ok());
        }
    }

    #[test]
    fn a_forged_jump_does_not_move_the_rollover_counter() {
        let (mut sender, mut receiver) = pair(Profile::AeadAes128Gcm);
        open_rtp(&mut receiver, &seal_rtp(&mut sender, &rtp(7, 40_000)).unwrap()).unwrap();
        for sequence in [60_000, 5, 62_000, 4_000, 7_000] {
            let mut forged = rtp(7, sequence);
            forged.extend([0; 16]);
            assert_eq!(open_rtp(&mut receiver, &forged), Err(SrtpError::Auth));
        }
        assert_eq!(open_rtp(&mut receiver, &seal_rtp(&mut sender, &rtp(7, 40_001)).unwrap()), Ok((rtp(7, 40_001), 40_001)));
    }

    #[test]
    fn clear_srtcp_needs_its_tag() {
        let (_, mut receiver) = pair(Profile::Aes128CmSha1_80);
        let mut forged = rtcp(7);
        forged.extend([0, 0, 0, 1]);
        forged.extend([0xAB; 10]);
        assert_eq!(open_rtcp(&mut receiver, &forged), Err(SrtpError::Auth));
        assert_eq!(receiver.streams(), 0);
    }

    #[test]
    fn our_own_packets_thrown_back_are_refused() {
        for profile in Profile::ALL {
            let (inbound, outbound) = SessionKeys::split(profile, &material(profile), true).unwrap();
            let (mut receiver, mut sender) = (SrtpReceiver::new(inbound).unwrap(), SrtpSender::new(outbound).unwrap());
            let sealed = seal_rtp(&mut sender, &rtp(7, 1)).unwrap();
            assert_eq!(open_rtp(&mut receiver, &sealed), Err(SrtpError::Auth));
        }
    }

    #[test]
    fn one_stream_too_many_is_refused_until_another_ends() {
        let (mut sender, mut receiver) = pair(Profile::AeadAes128Gcm);
        let packets: Vec<_> = (0..65).map(|ssrc| seal_rtp(&mut sender, &rtp(ssrc, 1)).unwrap()).collect();
        for packet in &packets[..64] {
            open_rtp(&mut receiver, packet).unwrap();
        }
        assert_eq!(open_rtp(&mut receiver, &packets[64]), Err(SrtpError::TableFull));
        receiver.forget(5);
        assert!(open_rtp(&mut receiver, &packets[64]).is_ok());
        receiver.forget(6);
        assert_eq!(open_rtp(&mut receiver, &packets[5]), Err(SrtpError::Replay), "an ended stream cannot be replayed");
    }

    proptest! {
        #[test]
        fn rollover_survives_loss_and_reordering(
            start in 64_800..65_535_u16, arrivals in vec((any::<bool>(), 0..400_u32), 1200),
        ) {
            let (mut sender, mut receiver) = pair(Profile::AeadAes128Gcm);
            open_rtp(&mut receiver, &seal_rtp(&mut sender, &rtp(7, start)).unwrap()).unwrap();
            let mut packets: Vec<_> = (1..=arrivals.len() as u32)
                .zip(&arrivals)
                .filter_map(|(nth, (lost, delay))| {
                    let plain = rtp(7, start.wrapping_add(nth as u16));
                    let sealed = seal_rtp(&mut sender, &plain).unwrap();
                    (!lost).then_some((nth + delay, u64::from(start) + u64::from(nth), plain, sealed))
                })
                .collect();
            packets.sort_by_key(|(arrival, ..)| *arrival);
            for (_, index, plain, sealed) in &packets {
                prop_assert_eq!(open_rtp(&mut receiver, sealed), Ok((plain.clone(), *index)));
                prop_assert_eq!(open_rtp(&mut receiver, sealed), Err(SrtpError::Replay));
            }
        }

        #[test]
        fn any_bytes_are_refused_without_panic(mut bytes in vec(any::<u8>(), 0..120), profile in 0..3_usize) {
            let (_, mut receiver) = pair(Profile::ALL[profile]);
            if let Some(first) = bytes.first_mut() {
                *first = 0x80 | *first & 0x3F;
            }
            prop_assert!(open_rtp(&mut receiver, &bytes).is_err());
            prop_assert!(open_rtcp(&mut receiver, &bytes).is_err());
            prop_assert_eq!(receiver.streams(), 0);
            prop_assert_eq!(receiver.errors().total(), 2);
        }

        #[test]
        fn any_packet_goes_round(
            payload in vec(any::<u8>(), 0..1300), report in vec(any::<u8>(), 8..400), profile in 0..3_usize,
        ) {
            let (mut sender, mut receiver) = pair(Profile::ALL[profile]);
            let plain = [&rtp(7, 1)[..20], &payload].concat();
            let sealed = seal_rtp(&mut sender, &plain).unwrap();
            prop_assert_eq!(sealed.len(), plain.len() + Profile::ALL[profile].rtp_overhead());
            prop_assert_eq!(open_rtp(&mut receiver, &sealed), Ok((plain, 1)));
            let plain = [&[0x80 | report[0] & 0x3F], &report[1..]].concat();
            let sealed = seal_rtcp(&mut sender, &plain).unwrap();
            prop_assert_eq!(sealed.len(), plain.len() + Profile::ALL[profile].rtcp_overhead());
            prop_assert_eq!(open_rtcp(&mut receiver, &sealed), Ok(plain));
        }
    }
}

mod sending {
    use super::*;

    #[test]
    fn no_index_is_sealed_twice() {
        for profile in Profile::ALL {
            let (mut sender, _) = pair(profile);
            seal_rtp(&mut sender, &rtp(7, 5)).unwrap();
            assert_eq!(seal_rtp(&mut sender, &rtp(7, 5)), Err(SrtpError::IndexReused));
            seal_rtp(&mut sender, &rtp(7, 1030)).unwrap();
            assert_eq!(seal_rtp(&mut sender, &rtp(7, 6)), Err(SrtpError::IndexReused), "too old to tell");
            assert!(seal_rtp(&mut sender, &rtp(7, 7)).is_ok(), "late, but not yet sealed");
            assert_eq!(seal_rtp(&mut sender, &rtp(7, 7)), Err(SrtpError::IndexReused));
            assert!(seal_rtp(&mut sender, &rtp(8, 7)).is_ok(), "another stream");
            assert_eq!(sender.errors().of(SrtpError::IndexReused), 3);
        }
    }

    #[test]
    fn forgetting_a_stream_does_not_free_its_indexes() {
        let (mut sender, mut receiver) = pair(Profile::AeadAes128Gcm);
        let first = seal_rtcp(&mut sender, &rtcp(7)).unwrap();
        seal_rtp(&mut sender, &rtp(7, 100)).unwrap();
        sender.forget(7);
        assert_eq!(sender.streams(), 0);
        assert_eq!(seal_rtp(&mut sender, &rtp(7, 100)), Err(SrtpError::IndexReused));
        assert_eq!(seal_rtp(&mut sender, &rtp(7, 99)), Err(SrtpError::IndexReused));
        assert!(seal_rtp(&mut sender, &rtp(7, 101)).is_ok());
        let second = seal_rtcp(&mut sender, &rtcp(7)).unwrap();
        assert_eq!(open_rtcp(&mut receiver, &second), Ok(rtcp(7)));
        assert_eq!(open_rtcp(&mut receiver, &first), Ok(rtcp(7)), "another index than the first");
    }

    #[test]
    fn nothing_is_sealed_beyond_the_last_index() {
        let (mut sender, _) = pair(Profile::AeadAes128Gcm);
        sender.wind_on(7, (1 << 48) - 2, MAX_RTCP_INDEX - 1);
        assert!(seal_rtp(&mut sender, &rtp(7, 65_535)).is_ok());
        assert_eq!(seal_rtp(&mut sender, &rtp(7, 0)), Err(SrtpError::IndexLimit));
        let last = seal_rtcp(&mut sender, &rtcp(7)).unwrap();
        assert_eq!(last[last.len() - 4..], [0xFF; 4]);
        assert_eq!(seal_rtcp(&mut sender, &rtcp(7)), Err(SrtpError::IndexLimit));
        sender.forget(7);
        assert_eq!(seal_rtp(&mut sender, &rtp(7, 0)), Err(SrtpError::IndexLimit));
        assert_eq!(seal_rtcp(&mut sender, &rtcp(7)), Err(SrtpError::IndexLimit));
    }

    #[test]
    fn each_source_counts_its_srtcp_from_one() {
        let (mut sender, _) = pair(Profile::AeadAes128Gcm);
        for (ssrc, index) in [(7, 1), (7, 2), (8, 1), (7, 3)] {
            let sealed = seal_rtcp(&mut sender, &rtcp(ssrc)).unwrap();
            assert_eq!(sealed[sealed.len() - 4..], [0x80, 0, 0, index]);
        }
    }

    #[test]
    fn a_caller_without_room_or_with_another_header_is_refused() {
        for profile in Profile::ALL {
            let (mut sender, _) = pair(profile);
            let plain = rtp(7, 1);
            let mut buf = [&plain[..], &[0; 15]].concat();
            let room = plain.len() + profile.rtp_overhead() - 1;
            assert_eq!(sender.seal_rtp(&mut buf[..room], 20, plain.len()), Err(SrtpError::NoRoom));
            assert_eq!(sender.seal_rtp(&mut buf, 20, usize::MAX), Err(SrtpError::Malformed));
            let mut buf = [&plain[..], &[0; 16]].concat();
            assert_eq!(sender.seal_rtp(&mut buf, 24, plain.len()), Err(SrtpError::Malformed), "payload left clear");
            assert_eq!(sender.seal_rtp(&mut buf, 20, 19), Err(SrtpError::TooShort));
            assert_eq!(buf[..plain.len()], plain, "untouched");
            let mut buf = [0; 64];
            buf[..12].copy_from_slice(&rtcp(7));
            assert_eq!(sender.seal_rtcp(&mut buf[..12 + profile.rtcp_overhead() - 1], 12), Err(SrtpError::NoRoom));
            assert_eq!(sender.seal_rtcp(&mut buf, 7), Err(SrtpError::TooShort));
            assert_eq!(sender.streams(), 0);
            assert!(sender.seal_rtp(&mut [&plain[..], &[0; 16]].concat(), 20, plain.len()).is_ok(), "the index is still free");
        }
    }
}
