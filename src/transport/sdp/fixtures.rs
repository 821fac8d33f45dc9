//! Offers of real browsers: what is read from them, and that each answer fits its offer.
//!
//! Taken from Chromium 156 and Firefox ESR 153 with the sections `livekit-client` makes: a pool of three and three
//! places for viewers, data channels, then publications. `livekit-first` is what `livekit-client` 2.23.0 itself sent
//! in its join request. Chromium's `gathered` has plain places without the dependency descriptor. Later offers follow
//! an answer of ours. Addresses are replaced by documentation ones.

use std::collections::{HashMap, HashSet};
use std::io::Cursor;

use proptest::prelude::*;
use rtc_sdp::description::session::SessionDescription;

use super::*;
use crate::model::{Codec, Extension, MediaKind};

macro_rules! fixtures {
    ($($name:ident = $file:literal;)*) => {
        $(pub(super) const $name: &str = include_str!(concat!("../../../tests/fixtures/sdp/", $file, ".sdp"));)*

        /// Every fixture with its name.
        const ALL: &[(&str, &str)] = &[$(($file, $name)),*];
    };
}

fixtures! {
    CHROMIUM_FIRST = "chromium-first";
    CHROMIUM_LIVEKIT = "chromium-livekit-first";
    CHROMIUM_GATHERED = "chromium-gathered";
    CHROMIUM_SECOND = "chromium-second";
    CHROMIUM_CAMERA = "chromium-camera-simulcast";
    CHROMIUM_CAMERA_H264 = "chromium-camera-h264-simulcast";
    CHROMIUM_CAMERA_VP9 = "chromium-camera-vp9-svc";
    CHROMIUM_CAMERA_SINGLE = "chromium-camera-single";
    CHROMIUM_SCREEN = "chromium-screen";
    CHROMIUM_STOPPED = "chromium-stopped";
    FIREFOX_FIRST = "firefox-first";
    FIREFOX_GATHERED = "firefox-gathered";
    FIREFOX_SECOND = "firefox-second";
    FIREFOX_CAMERA = "firefox-camera-simulcast";
    FIREFOX_CAMERA_VP9 = "firefox-camera-vp9-svc";
    FIREFOX_CAMERA_SINGLE = "firefox-camera-single";
    FIREFOX_SCREEN = "firefox-screen";
    FIREFOX_STOPPED = "firefox-stopped";
}

/// The smallest offer that is read, with lines added to its one section.
pub(super) fn small(extra: &str) -> String {
    let fingerprint = ["AB"; 32].join(":");
    format!(
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\na=fingerprint:sha-256 {fingerprint}\r\n\
         a=setup:actpass\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:abcd\r\n\
         a=ice-pwd:abcdefghijklmnopqrstuv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n{extra}"
    )
}

fn read(text: &str) -> Offer {
    Offer::parse(text).expect("a fixture is a good offer")
}

fn candidates() -> Vec<String> {
    vec!["1 1 udp 2130706431 192.0.2.7 7882 typ host".to_owned()]
}

fn answer(offer: &Offer, sections: &[AnswerSection]) -> String {
    let candidates = candidates();
    let local = LocalEnd {
        session_id: 7,
        session_version: 3,
        ice_ufrag: "ourufrag",
        ice_pwd: "ourpasswordourpassword",
        fingerprint: [0xA7; 32],
        candidates: &candidates,
    };
    write_answer(offer, &local, sections)
}

fn send(section: &Section, codec: Codec) -> AnswerSection {
    let Some(picked) = section.pick(codec, None) else { return AnswerSection::Inactive };
    AnswerSection::Send(SendSection {
        stream_id: "PA_a|TR_b".to_owned(),
        track_id: "TR_b".to_owned(),
        cname: "PA_a".to_owned(),
        ssrc: 1001,
        rtx_ssrc: picked.rtx.map(|_| 1002),
        payload_types: std::iter::once(picked.payload_type).chain(picked.rtx).collect(),
        stereo: false,
    })
}

fn receive(section: &Section, first: Option<Codec>) -> AnswerSection {
    let payload_types = ReceiveCodecs::default().choose(section, first);
    AnswerSection::Receive(ReceiveSection { payload_types, dtx: true, ..ReceiveSection::default() })
}

/// Everything used that can be.
fn all_used(offer: &Offer) -> Vec<AnswerSection> {
    let used = |section: &Section| match section.kind {
        SectionKind::Application => AnswerSection::Application { sctp_port: 5000, max_message_size: 64_000 },
        _ if section.can_receive() => receive(section, None),
        SectionKind::Media(MediaKind::Audio) if section.can_send() => send(section, Codec::Opus),
        SectionKind::Media(MediaKind::Video) if section.can_send() => send(section, Codec::Vp8),
        SectionKind::Media(_) | SectionKind::Other => AnswerSection::Inactive,
    };
    offer.sections.iter().map(used).collect()
}

/// The lines of the section with a mid.
fn part<'a>(text: &'a str, mid: &str) -> Vec<&'a str> {
    let mid = format!("a=mid:{mid}");
    let parts = text.split("\r\nm=").skip(1).map(|part| part.lines().collect::<Vec<_>>());
    parts.into_iter().find(|lines| lines.contains(&mid.as_str())).expect("a section with the mid")
}

#[test]
fn a_first_offer_is_read() {
    for (text, opus, vp8) in [(CHROMIUM_FIRST, 111, 96), (CHROMIUM_LIVEKIT, 111, 96), (FIREFOX_FIRST, 109, 120)] {
        let offer = read(text);
        assert_eq!(offer.setup, Setup::ActPass);
        let mids: Vec<&str> = offer.sections.iter().map(|section| &*section.mid).collect();
        assert_eq!(mids, ["0", "1", "2", "3", "4", "5", "6"]);
        assert!(offer.sections.iter().all(|section| !section.rejected), "port 0 with bundle-only is in use");
        for section in &offer.sections[..6] {
            assert_eq!(section.direction, Direction::RecvOnly);
            assert!(section.rtcp_mux && section.rids.is_empty() && section.msid.is_none());
        }
        let audio = offer.sections[0].pick(Codec::Opus, None).expect("opus");
        assert_eq!((audio.payload_type, audio.clock_rate, audio.channels, audio.rtx), (opus, 48_000, Some(2), None));
        assert!(audio.fmtp.contains("useinbandfec=1"));
        let video = offer.sections[3].pick(Codec::Vp8, None).expect("vp8");
        assert_eq!(video.payload_type, vp8);
        assert_eq!(video.rtx.and_then(|rtx| offer.sections[3].codec(rtx)).map(|rtx| rtx.name.as_str()), Some("rtx"));
        assert_eq!(video.feedback.len(), 5);
        let data = &offer.sections[6];
        assert_eq!((data.kind, data.sctp_port), (SectionKind::Application, Some(5000)));
        assert!(data.max_message_size >= Some(262_144));
        assert!(offer.extensions().id(Extension::Mid).is_some());
    }
}

#[test]
fn codecs_are_picked_as_the_client_numbers_them() {
    let chromium = read(CHROMIUM_FIRST);
    let video = &chromium.sections[3];
    let number = |codec, wanted| video.pick(codec, wanted).map(|codec| codec.payload_type);
    assert_eq!(number(Codec::Vp9, None), Some(98));
    assert_eq!(number(Codec::Vp9, Some("profile-id=2")), Some(100));
    assert_eq!(number(Codec::Av1, None), Some(45));
    assert_eq!(number(Codec::H264, None), Some(108));
    assert_eq!(number(Codec::H264, Some("packetization-mode=1;profile-level-id=42001f")), Some(102));
    assert_eq!(number(Codec::H264, Some("packetization-mode=0;profile-level-id=42e01f")), Some(114));
    assert_eq!(number(Codec::H264, Some("packetization-mode=1;profile-level-id=4d0028")), Some(116));
    assert_eq!(number(Codec::H264, Some("packetization-mode=1;profile-level-id=42801f")), Some(102), "of two equals the first");
    assert_eq!(number(Codec::H264, Some("packetization-mode=1;profile-level-id=640028")), None, "High is not offered");
    assert_eq!(number(Codec::Red, None), None, "red for video is another format");
    assert_eq!(chromium.sections[0].pick(Codec::Red, None).map(|codec| codec.payload_type), Some(63));
    assert_eq!(chromium.codec(97).map(|codec| codec.name.as_str()), Some("rtx"));
    assert_eq!(read(FIREFOX_FIRST).sections[3].pick(Codec::H264, None).map(|codec| codec.payload_type), None);
}

#[test]
fn a_camera_in_simulcast_is_read() {
    for text in [CHROMIUM_CAMERA, FIREFOX_CAMERA, CHROMIUM_CAMERA_H264] {
        let offer = read(text);
        let (microphone, camera) = (&offer.sections[7], &offer.sections[8]);
        assert_eq!((microphone.direction, camera.direction), (Direction::SendOnly, Direction::SendOnly));
        assert_eq!(camera.rids.iter().map(|rid| &**rid).collect::<Vec<_>>(), ["q", "h", "f"]);
        let (sound, picture) = (microphone.msid.as_ref().expect("named"), camera.msid.as_ref().expect("named"));
        assert_eq!(sound.stream, picture.stream);
        assert_ne!(sound.track, picture.track);
        for extension in [Extension::Mid, Extension::Rid, Extension::RepairedRid, Extension::TransportCc] {
            assert!(camera.extensions.id(extension).is_some(), "{extension:?}");
        }
        assert!(microphone.extensions.id(Extension::AudioLevel).is_some());
    }
    let firefox = read(FIREFOX_CAMERA);
    assert_eq!((firefox.sections[8].ssrcs.len(), firefox.sections[8].fid_pairs.len()), (6, 3), "announced beside the rids");
    assert!(firefox.sections[8].cname.is_some());
    let order: Vec<Codec> = read(CHROMIUM_CAMERA_H264).sections[8].codecs.iter().filter_map(|codec| codec.codec).collect();
    assert_eq!(order[0], Codec::H264, "the client's own preference is kept");
}

#[test]
fn one_stream_is_read_with_its_repair() {
    for text in [CHROMIUM_CAMERA_SINGLE, CHROMIUM_CAMERA_VP9, FIREFOX_CAMERA_SINGLE, FIREFOX_CAMERA_VP9] {
        let offer = read(text);
        let camera = &offer.sections[8];
        assert!(camera.rids.is_empty());
        let [(media, repair)] = camera.fid_pairs[..] else { panic!("one pair") };
        assert_eq!(camera.ssrcs.len(), 2);
        assert!(camera.ssrcs.contains(&media) && camera.ssrcs.contains(&repair));
    }
    let screen = read(CHROMIUM_SCREEN);
    assert_eq!(screen.section("7").map(|section| section.rids.len()), Some(2));
    assert_eq!(read(FIREFOX_SCREEN).section("7").map(|section| (section.rids.len(), section.fid_pairs.len())), Some((0, 1)));
}

#[test]
fn what_was_unpublished_is_neither_sent_nor_received() {
    for text in [CHROMIUM_STOPPED, FIREFOX_STOPPED] {
        let offer = read(text);
        let (stopped, removed) = (&offer.sections[7], &offer.sections[8]);
        assert!(stopped.rejected && !removed.rejected);
        assert_eq!(removed.direction, Direction::Inactive);
        for section in [stopped, removed] {
            assert!(!section.can_receive() && !section.can_send());
        }
        let wrong = vec![receive(removed, None); 9];
        let text = answer(&offer, &wrong);
        assert!(part(&text, "7")[0].starts_with("audio 0 "), "a rejected section stays rejected");
        assert!(part(&text, "8").contains(&"a=inactive"), "nothing is received where nothing is offered");
        assert!(text.contains("a=group:BUNDLE 0 1 2 3 4 5 6 8\r\n"));
    }
    let paused = read(CHROMIUM_STOPPED);
    assert_eq!(paused.sections[8].rids.iter().map(|rid| &**rid).collect::<Vec<_>>(), ["q", "h", "f"], "~ is left out");
}

/// Checks what must hold of any answer to any offer.
fn check(name: &str, offer: &Offer, text: &str) {
    assert!(text.ends_with("\r\n") && !text.contains("\r\n\r\n") && text.matches('\n').count() == text.matches("\r\n").count());
    let parsed = SessionDescription::unmarshal(&mut Cursor::new(text.as_bytes())).expect("an answer is a description");
    assert_eq!(parsed.media_descriptions.len(), offer.sections.len(), "{name}: no section is dropped");
    assert!(parsed.attributes.iter().any(|attribute| attribute.key == "ice-lite"));
    let mut candidates = 0;
    let mut formats: HashMap<String, (String, String)> = HashMap::new();
    for (section, media) in offer.sections.iter().zip(&parsed.media_descriptions) {
        let line = &media.media_name;
        let one = |key: &str| media.attribute(key).flatten().map(str::trim);
        assert_eq!(line.media, section.line[0], "{name}");
        assert_eq!(line.protos.join("/"), section.line[1], "{name}");
        assert_eq!(one("mid").unwrap_or(""), &*section.mid, "{name}: a mid never changes");
        if section.rejected || section.kind == SectionKind::Other {
            assert_eq!(line.port.value, 0);
            continue;
        }
        assert_eq!(line.port.value, 9, "{name}: a section in use is never rejected");
        assert_eq!((one("setup"), one("ice-ufrag")), (Some("passive"), Some("ourufrag")));
        assert!(one("fingerprint").is_some_and(|value| value.starts_with("sha-256 A7:A7:")));
        candidates += media.attributes.iter().filter(|attribute| attribute.key == "candidate").count();
        if section.media_kind().is_none() {
            continue;
        }
        assert!(media.has_attribute("rtcp-mux") && !line.formats.is_empty());
        for format in &line.formats {
            let offered = section.codec(format.parse().expect("a number")).expect("a payload type of the offer");
            let of = |key: &str| {
                let value = media.attributes.iter().filter(|attribute| attribute.key == key).filter_map(|a| a.value.as_deref());
                value.filter_map(|value| value.split_once(' ')).find(|(pt, _)| pt == format).map_or("", |(_, rest)| rest)
            };
            let (map, fmtp) = (of("rtpmap").to_owned(), of("fmtp").to_owned());
            assert_eq!(map.split('/').next(), Some(offered.name.as_str()), "{name}");
            assert!(fmtp.starts_with(&offered.fmtp), "{name}: the client's own parameters come first");
            // Opus says in each section what is wanted of that stream; all else is one format, one text.
            let fmtp = if offered.codec == Some(Codec::Opus) { String::new() } else { fmtp };
            let known = formats.entry(format.clone()).or_insert_with(|| (map.clone(), fmtp.clone()));
            assert_eq!(*known, (map, fmtp), "{name}: a payload type means the same everywhere in the bundle");
        }
        for line in media.attributes.iter().filter(|attribute| attribute.key == "rtcp-fb").filter_map(|a| a.value.as_deref()) {
            let (format, kind) = line.split_once(' ').expect("two words");
            let offered = section.codec(format.parse().expect("a number")).expect("offered");
            assert!(offered.feedback.contains(&kind), "{name}: only feedback that was offered");
        }
        for line in media.attributes.iter().filter(|attribute| attribute.key == "extmap").filter_map(|a| a.value.as_deref()) {
            let (id, uri) = line.split_once(' ').expect("two words");
            let id = id.split('/').next().and_then(|id| id.parse().ok()).expect("an id");
            assert_eq!(section.extensions.extension(id), Extension::from_uri(uri), "{name}");
        }
    }
    let in_use = offer.sections.iter().any(|section| !section.rejected && section.kind != SectionKind::Other);
    assert_eq!(candidates, usize::from(in_use), "{name}: the candidate is there once");
}

#[test]
fn an_answer_fits_every_offer() {
    for (name, text) in ALL {
        let offer = read(text);
        check(name, &offer, &answer(&offer, &[]));
        let used = answer(&offer, &all_used(&offer));
        check(name, &offer, &used);
        let sends = offer.sections.iter().filter(|section| section.can_send()).count();
        assert_eq!(used.matches("a=sendonly\r\n").count(), sends, "{name}");
        let receives = offer.sections.iter().filter(|section| section.can_receive()).count();
        assert_eq!(used.matches("a=recvonly\r\n").count(), receives, "{name}");
        // One offer's answer with another's choices: nothing is written that was not offered.
        for (_, other) in ALL {
            check(name, &offer, &answer(&offer, &all_used(&read(other))));
        }
    }
}

#[test]
fn an_inactive_section_keeps_what_later_offers_need() {
    let offer = read(CHROMIUM_FIRST);
    let text = answer(&offer, &[]);
    let video = part(&text, "3");
    for extension in [Extension::Mid, Extension::Rid, Extension::RepairedRid, Extension::AbsSendTime, Extension::TransportCc] {
        assert!(video.iter().any(|line| line.ends_with(extension.uri())), "{extension:?}");
    }
    assert!(!text.contains(Extension::VideoOrientation.uri()), "the sender turns the picture");
    assert!(video.iter().any(|line| line.ends_with(Extension::DependencyDescriptor.uri())), "or no AV1 is decoded");
    assert!(part(&text, "0").iter().any(|line| line.ends_with(Extension::AudioLevel.uri())));
    assert!(video.contains(&"a=inactive") && video[0].starts_with("video 9 UDP/TLS/RTP/SAVPF 96 97 108 109 98 99 45 46"));
    assert!(text.contains("a=extmap-allow-mixed\r\n"));
    assert_eq!(text.matches("a=end-of-candidates").count(), 1);
    let used = answer(&offer, &all_used(&offer));
    for extension in [Extension::Rid, Extension::PlayoutDelay] {
        let named = |text: &str| part(text, "3").iter().any(|line| line.ends_with(extension.uri()));
        assert!(named(&text) && named(&used), "{extension:?} is named in a place for viewers, used or not");
    }
}

#[test]
fn a_viewer_is_sent_one_track_with_its_repair() {
    let offer = read(CHROMIUM_FIRST);
    let text = answer(&offer, &all_used(&offer));
    let video = part(&text, "3");
    for line in [
        "video 9 UDP/TLS/RTP/SAVPF 96 97",
        "a=sendonly",
        "a=msid:PA_a|TR_b TR_b",
        "a=ssrc-group:FID 1001 1002",
        "a=ssrc:1001 cname:PA_a",
        "a=ssrc:1002 msid:PA_a|TR_b TR_b",
        "a=rtcp-fb:96 transport-cc",
        "a=rtcp-fb:96 nack pli",
        "a=rtcp-fb:96 ccm fir",
        "a=fmtp:97 apt=96",
    ] {
        assert!(video.contains(&line), "{line}: {video:?}");
    }
    assert!(!video.contains(&"a=rtcp-fb:96 goog-remb"), "one kind of estimate is enough");
    let sent = offer.sections[3].accepted_extensions(Role::Send);
    assert!(sent.id(Extension::TransportCc).is_some() && sent.id(Extension::Mid).is_some());
    assert_eq!((sent.id(Extension::Rid), sent.id(Extension::AbsSendTime)), (None, None));
    let voice = part(&text, "0");
    assert!(
        voice.iter().any(|line| line.starts_with("a=rtcp-fb") && line.contains("transport-cc")),
        "voice is counted in: {voice:?}"
    );
}

#[test]
fn a_camera_is_received_in_all_its_layers() {
    for text in [CHROMIUM_CAMERA, FIREFOX_CAMERA] {
        let offer = read(text);
        let text = answer(&offer, &all_used(&offer));
        let camera = part(&text, "8");
        for line in ["a=recvonly", "a=rid:q recv", "a=rid:h recv", "a=rid:f recv", "a=simulcast:recv q;h;f", "a=rtcp-rsize"] {
            assert!(camera.contains(&line), "{line}");
        }
        for kind in ["transport-cc", "goog-remb", "ccm fir", "nack", "nack pli"] {
            let fb = |line: &&str| line.starts_with("a=rtcp-fb:") && line.ends_with(&format!(" {kind}"));
            assert!(camera.iter().any(fb), "{kind}");
        }
        assert!(!camera.iter().any(|line| line.starts_with("a=ssrc") || line.starts_with("a=msid")));
        assert!(part(&text, "7").iter().any(|line| line.starts_with("a=fmtp:") && line.contains("usedtx=1")));
    }
    // Firefox's extensions have a direction, and the answer turns it round (RFC 8285, section 6).
    let offer = read(FIREFOX_CAMERA);
    let text = answer(&offer, &all_used(&offer));
    assert!(part(&text, "8").contains(&"a=extmap:9/recvonly urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"));
    assert!(!part(&text, "8").iter().any(|line| line.contains("playout-delay")), "that one only goes to viewers");
}

#[test]
fn opus_is_asked_for_stereo_and_told_of_it() {
    let offer = read(FIREFOX_CAMERA);
    let mut sections = all_used(&offer);
    let opus = ReceiveCodecs::default().choose(&offer.sections[7], None);
    sections[7] = AnswerSection::Receive(ReceiveSection {
        payload_types: opus,
        dtx: false,
        stereo: true,
        max_average_bitrate: Some(510_000),
    });
    if let AnswerSection::Send(send) = &mut sections[0] {
        send.stereo = true;
    }
    let text = answer(&offer, &sections);
    let own = "a=fmtp:109 maxplaybackrate=48000;stereo=1;useinbandfec=1";
    assert!(part(&text, "7").contains(&format!("{own};maxaveragebitrate=510000").as_str()));
    assert!(part(&text, "0").contains(&format!("{own};sprop-stereo=1").as_str()));
    assert!(part(&text, "1").contains(&own));
}

#[test]
fn a_section_of_an_unknown_kind_is_rejected_and_the_rest_lives() {
    let offer = small("m=text 9 RTP/AVP 98\r\na=mid:1\r\n").replace("BUNDLE 0", "BUNDLE 0 1");
    let offer = read(&offer);
    let text = answer(&offer, &[]);
    check("text", &offer, &text);
    assert!(text.contains("a=group:BUNDLE 0\r\n") && text.contains("m=text 0 RTP/AVP 98\r\n"));
}

#[test]
fn data_channels_alone_are_answered() {
    let text = small("");
    let (head, _) = text.split_at(text.find("m=").expect("a section"));
    let data = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:0\r\na=ice-ufrag:abcd\r\n\
                a=ice-pwd:abcdefghijklmnopqrstuv\r\na=sctp-port:5000\r\n";
    let offer = read(&format!("{head}{data}"));
    let ours = AnswerSection::Application { sctp_port: 5000, max_message_size: 64_000 };
    let text = answer(&offer, &[ours]);
    check("data", &offer, &text);
    assert!(text.contains("m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"));
    assert!(part(&text, "0").contains(&"a=max-message-size:64000"));
    assert!(answer(&offer, &[]).contains("a=max-message-size:65536\r\n"), "data channels are never inactive");
    assert!(answer(&offer, &[AnswerSection::Reject]).contains("m=application 0 "));
}

#[test]
fn a_direction_of_the_session_is_that_of_its_sections() {
    let offer = |line: &str| read(&small("").replace("a=setup", &format!("{line}a=setup"))).sections[0].direction;
    assert_eq!(offer(""), Direction::SendRecv);
    assert_eq!(offer("a=recvonly\r\n"), Direction::RecvOnly);
    assert_eq!(read(FIREFOX_GATHERED).sections[0].direction, Direction::RecvOnly, "the section's own comes first");
}

#[test]
fn streams_are_read_as_the_rfcs_write_them() {
    let video = |extra: &str| {
        let text = small(extra).replace("m=audio", "m=video").replace("opus/48000/2", "VP8/90000");
        Offer::parse(&text).map(|offer| offer.sections[0].clone())
    };
    let rids = |extra: &str| video(extra).map(|section| section.rids.iter().map(ToString::to_string).collect::<Vec<_>>());
    let three = "a=rid:1 send\r\na=rid:2 send pt=111\r\na=rid:3 send\r\n";
    assert_eq!(rids(&format!("{three}a=simulcast:recv x send 3,1;~2\r\n")), Ok(vec!["3".to_owned(), "2".to_owned()]));
    assert_eq!(
        rids(&format!("{three}a=simulcast:send 1;4;2\r\n")),
        Ok(vec!["1".to_owned(), "2".to_owned()]),
        "4 is not declared"
    );
    assert_eq!(rids(&format!("{three}a=simulcast:send 1;1\r\n")), Err(SdpError::BadAttribute("simulcast")));
    assert_eq!(rids(three), Ok(Vec::new()), "without a=simulcast there is one stream");
    let old =
        video("a=ssrc:5 cname:me\r\na=ssrc:5 msid:- cid\r\na=ssrc-group:FID 5 6\r\na=ssrc-group:SIM 5 7\r\n").expect("good");
    assert_eq!((old.ssrcs, old.fid_pairs, old.cname.as_deref()), (vec![5, 6], vec![(5, 6)], Some("me")));
    assert_eq!(old.msid.map(|id| (id.stream.to_string(), id.track.to_string())), Some(("-".to_owned(), "cid".to_owned())));
    let feedback =
        video("a=rtcp-fb:* nack\r\na=rtcp-fb:111 nack\r\na=rtcp-fb:111 nack sli\r\n").expect("good").codecs[0].feedback.clone();
    assert_eq!(feedback, ["nack"]);
}

#[test]
fn more_than_the_bounds_is_refused() {
    let many = |line: &dyn Fn(usize) -> String, count: usize| (0..count).map(line).collect::<String>();
    let refused = |text: &str| Offer::parse(text).map(|_| ()).expect_err("beyond a bound");
    let section = |n: usize| format!("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:x{n}\r\n");
    assert_eq!(refused(&small(&many(&section, 3000))), SdpError::TooMany("sections"));
    assert_eq!(refused(&small(&format!("a={}\r\n", "x".repeat(1 << 20)))), SdpError::TooLong);
    assert_eq!(refused(&"v=0\r\n".repeat(1 << 18)), SdpError::TooLong);
    assert_eq!(refused(&small(&many(&|n| format!("a=ssrc:{n} cname:a\r\n"), 33))), SdpError::TooMany("ssrcs"));
    assert!(Offer::parse(&small(&many(&|n| format!("a=ssrc:{n} cname:a\r\n"), 32))).is_ok());
    let rids = |count| format!("a=simulcast:send {}\r\n", (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(";"));
    assert_eq!(refused(&small(&rids(9))), SdpError::TooMany("simulcast streams"));
    assert!(Offer::parse(&small(&rids(8))).is_ok());
    let formats = |count: usize| small("").replace("SAVPF 111", &format!("SAVPF {}", many(&|n| format!("{n} "), count)));
    assert_eq!(refused(&formats(65)), SdpError::TooMany("codecs"));
    assert!(Offer::parse(&formats(64)).is_ok());
    assert_eq!(refused(&small(&many(&|_| "a=extmap:1 urn:x\r\n".to_owned(), 65))), SdpError::TooMany("header extensions"));
    assert_eq!(refused(&small("").replace("a=mid:0", &format!("a=mid:{}", "0".repeat(33)))), SdpError::BadAttribute("mid"));
}

#[test]
fn no_truncation_panics() {
    // Fixtures repeat most of their lines; cutting a line already cut elsewhere shows nothing new.
    let mut seen = HashSet::new();
    for (_, text) in ALL {
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let cuts = if seen.insert(line) { 0..line.len() } else { line.len() - 1..line.len() };
            for cut in cuts {
                if let Some(offer) = text.get(..start + cut).and_then(|text| Offer::parse(text).ok()) {
                    assert!(answer(&offer, &all_used(&offer)).starts_with("v=0\r\n"));
                }
            }
            start += line.len();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_flipped_byte_panics(
        which in 0..ALL.len(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = ALL[which].1.as_bytes().to_vec();
        for (place, value) in flips {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Ok(offer) = Offer::parse(&String::from_utf8_lossy(&bytes)) {
            let _ = answer(&offer, &[]);
            let _ = answer(&offer, &all_used(&read(ALL[which].1)));
        }
    }

    #[test]
    fn no_mixed_up_lines_panic(which in 0..ALL.len(), order in prop::collection::vec(any::<prop::sample::Index>(), 1..300)) {
        let lines: Vec<&str> = ALL[which].1.lines().collect();
        let head = lines.iter().take(12).copied();
        let text: Vec<&str> = head.chain(order.iter().map(|place| lines[place.index(lines.len())])).collect();
        if let Ok(offer) = Offer::parse(&text.join("\r\n")) {
            let _ = answer(&offer, &all_used(&offer));
        }
    }
}
