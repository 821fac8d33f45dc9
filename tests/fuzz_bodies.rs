//! Runs every fuzz body with seeded inputs, so that `cargo test` finds what needs no fuzzer to be found.
#![allow(clippy::print_stdout, reason = "how many inputs ran is the result")]

#[path = "fuzz/src/bodies.rs"]
mod bodies;
#[path = "world/rng.rs"]
mod rng;

use rng::Rng;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Inputs of each body.
const INPUTS: usize = 20_000;

/// One good input for each body, to be bent.
fn own_seeds(name: &str) -> Vec<Vec<u8>> {
    let rtp: &[u8] = &[
        0xb0, 0xef, 0x12, 0x34, 0, 0, 0x10, 0, 1, 2, 3, 4, 0xbe, 0xde, 0, 2, 0x10, 0x9f, 0x31, 0x12, 0x34, 0, 0, 0, 0x90, 0xf0,
        0x92, 0x34, 9, 0x23, 0x00, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0, 4,
    ];
    let rtcp: &[u8] = &[
        0x81, 201, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2, 3, 0, 0, 9, 0, 1, 0, 7, 0, 0, 0, 5, 1, 2, 3, 4, 0, 0, 1, 0, 0x81, 205, 0, 3, 0,
        0, 0, 1, 0, 0, 0, 2, 0, 9, 0x80, 1, 0x8f, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1, 0, 4, 0, 0, 9, 1, 0x20, 4, 4, 8, 12,
        16, 0, 0,
    ];
    match name {
        "rtcp" => vec![rtcp.to_vec()],
        "srtp" => vec![rtp.to_vec(), rtcp.to_vec()],
        "sdp_offer" => {
            let texts = [
                include_str!("fixtures/sdp/chromium-first.sdp"),
                include_str!("fixtures/sdp/chromium-camera-simulcast.sdp"),
                include_str!("fixtures/sdp/firefox-camera-vp9-svc.sdp"),
            ];
            texts.iter().map(|text| text.as_bytes().to_vec()).collect()
        }
        "stun" => {
            // USERNAME, PRIORITY, ICE-CONTROLLING, USE-CANDIDATE, MESSAGE-INTEGRITY, FINGERPRINT.
            let mut stun = vec![0, 1, 0, 80, 0x21, 0x12, 0xa4, 0x42];
            stun.extend_from_slice(&[9; 12]);
            stun.extend_from_slice(&[0, 6, 0, 9]);
            stun.extend_from_slice(b"abcd:efgh\0\0\0");
            stun.extend_from_slice(&[
                0, 0x24, 0, 4, 1, 2, 3, 4, 0x80, 0x2a, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0x25, 0, 0, 0, 8, 0, 20,
            ]);
            stun.extend_from_slice(&[5; 20]);
            stun.extend_from_slice(&[0x80, 0x28, 0, 4, 1, 2, 3, 4]);
            vec![stun]
        }
        "dtls" => {
            let mut hello = vec![22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 71, 1, 0, 0, 59, 0, 0, 0, 0, 0, 0, 0, 59, 0xfe, 0xfd];
            hello.extend_from_slice(&[7; 32]);
            hello.extend_from_slice(&[0, 0, 0, 2, 0xc0, 0x2b, 1, 0, 0, 17, 0, 14, 0, 5, 0, 2, 0, 7, 0, 0, 23, 0, 0, 0, 0]);
            vec![hello]
        }
        // A length byte, then chunks: DATA with a DATA_CHANNEL_OPEN, SACK, HEARTBEAT, FORWARD-TSN, RE-CONFIG.
        "sctp" => {
            let mut data = vec![4, 0, 3, 0, 32, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 50, 3, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0];
            data.extend_from_slice(b"_rel");
            data.extend_from_slice(&[2, 3, 0, 0, 16, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 8, 0, 1, 0, 4]);
            data.extend_from_slice(&[1, 192, 0, 0, 8, 0, 0, 0, 9, 2, 130, 0, 0, 16, 0, 13, 0, 12, 0, 0, 0, 1, 0, 0, 0, 2]);
            vec![data]
        }
        "data_envelope" => vec![vec![
            0x08, 1, 0x12, 12, 0x0a, 2, b'a', b'b', 0x12, 2, b'h', b'i', 0x32, 2, b'c', b'd', 0x22, 1, b'x', 0x2a, 1, b'y', 0x80,
            1, 7,
        ]],
        "signal_request" | "join_request" => {
            vec![
                vec![0x22, 14, 0x0a, 3, b'c', b'i', b'd', 0x18, 1, 0x20, 1, 0x32, 3, b'm', b'i', b'c'],
                vec![0x08, 0, 0x12, 4, 0x0a, 2, 0x08, 1],
            ]
        }
        _ => vec![rtp.to_vec()],
    }
}

/// Bends an input: flips, cuts, repeats, inserts.
fn bend(rng: &mut Rng, seed: &[u8]) -> Vec<u8> {
    let mut data = seed.to_vec();
    for _ in 0..=rng.below(6) {
        if data.is_empty() {
            return data;
        }
        let at = rng.below(data.len());
        match rng.below(7) {
            0 => data[at] = rng.next() as u8,
            1 => data[at] ^= 1 << rng.below(8),
            2 => data[at] = [0, 1, 0x7f, 0x80, 0xff][rng.below(5)],
            3 => data.truncate(at),
            4 => {
                let end = (at + 1 + rng.below(16)).min(data.len());
                let part = data[at..end].to_vec();
                data.splice(at..at, part);
            }
            5 => {
                let end = (at + 1 + rng.below(16)).min(data.len());
                data.drain(at..end);
            }
            _ => {
                let mut few = vec![0; rng.below(8)];
                rng.fill(&mut few);
                data.splice(at..at, few);
            }
        }
    }
    data
}

#[test]
fn every_body_survives_thousands_of_seeded_inputs() {
    for (name, body) in bodies::ALL {
        let mut rng = Rng::new(0xb0d1e5);
        let seeds = own_seeds(name);
        for seed in &seeds {
            body(seed);
        }
        for n in 0..INPUTS {
            let input = if n % 4 == 0 {
                let mut noise = vec![0; rng.below(300)];
                rng.fill(&mut noise);
                noise
            } else {
                bend(&mut rng, &seeds[n % seeds.len()])
            };
            body(&input);
        }
        println!("{name}: {INPUTS} inputs");
    }
}

/// Packets of a capture: Ethernet, IPv4 and UDP are cut off.
fn capture(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    let mut rest = bytes.get(24..).unwrap_or_default();
    while let Some(len) = rest.get(8..12).and_then(|len| Some(u32::from_le_bytes(*len.first_chunk()?) as usize)) {
        let Some(packet) = rest.get(16..16 + len) else { break };
        packets.extend(packet.get(42..).map(<[u8]>::to_vec));
        rest = &rest[16 + len..];
    }
    packets
}

/// The bytes of a Go corpus file: `[]byte("…")` with Go's escapes.
fn go_corpus(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(bytes).ok()?.strip_prefix("go test fuzz v1\n")?;
    let quoted = text.split_once("[]byte(\"")?.1.rsplit_once("\")")?.0.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(byte) = quoted.get(at) {
        at += 1;
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let escape = *quoted.get(at)?;
        at += 1;
        out.push(match escape {
            b'x' => {
                let hex = std::str::from_utf8(quoted.get(at..at + 2)?).ok()?;
                at += 2;
                u8::from_str_radix(hex, 16).ok()?
            }
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'a' => 7,
            b'b' => 8,
            b'f' => 12,
            b'v' => 11,
            other => other,
        });
    }
    Some(out)
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            files(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

#[test]
fn every_body_survives_what_broke_others() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.ancestors().skip(1).map(|above| above.join("shared/fuzz-seeds")).find(|folder| folder.is_dir());
    let Some(folder) = folder else {
        println!("not checked: seeds of other projects, no shared/fuzz-seeds beside the project");
        return;
    };
    let unpacked = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-seeds-{}", std::process::id()));
    fs::create_dir_all(&unpacked).expect("a folder for the seeds");
    let mut archives = Vec::new();
    files(&folder, &mut archives);
    for archive in archives.iter().filter(|path| path.extension().is_some_and(|end| end == "gz")) {
        let status = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(&unpacked).status().expect("tar runs");
        assert!(status.success());
    }
    let mut found = Vec::new();
    files(&unpacked, &mut found);
    let mut inputs = Vec::new();
    for path in &found {
        let bytes = fs::read(path).expect("a seed");
        if path.extension().is_some_and(|end| end == "pcap") {
            inputs.extend(capture(&bytes).into_iter().step_by(7));
        } else {
            inputs.extend(go_corpus(&bytes));
            inputs.push(bytes);
        }
    }
    fs::remove_dir_all(&unpacked).expect("ours to remove");
    assert!(inputs.len() >= 500, "positive control: {}", inputs.len());
    let mut rng = Rng::new(0x5eed);
    for (_, body) in bodies::ALL {
        for input in &inputs {
            body(input);
            body(&bend(&mut rng, input));
        }
    }
    println!("{} seeds of other projects, each as it is and bent once, into {} bodies", inputs.len(), bodies::ALL.len());
}
