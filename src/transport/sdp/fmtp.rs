//! Format parameters (`a=fmtp`): reading, setting one, and whether two H.264 profiles fit.
//!
//! The text stays as the client wrote it; nothing is put in order or rewritten unless a parameter is set.

/// The value of a parameter; names compare in any case (RFC 8866, section 6.15).
pub(super) fn param<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    fmtp.split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(key, value)| key.trim().eq_ignore_ascii_case(name).then_some(value.trim()))
}

/// Sets a parameter, in its place where it is already there and at the end where it is not.
pub(super) fn with_param(fmtp: &str, name: &str, value: &str) -> String {
    let mut found = false;
    let mut parts: Vec<String> = Vec::new();
    for part in fmtp.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let same = part.split_once('=').is_some_and(|(key, _)| key.trim().eq_ignore_ascii_case(name));
        if !same {
            parts.push(part.to_owned());
        } else if !found {
            found = true;
            parts.push(format!("{name}={value}"));
        }
    }
    if !found {
        parts.push(format!("{name}={value}"));
    }
    parts.join(";")
}

/// A numeric parameter with the default its format gives it.
pub(super) fn number(fmtp: &str, name: &str, default: u32) -> Option<u32> {
    match param(fmtp, name) {
        Some(value) => value.parse().ok(),
        None => Some(default),
    }
}

/// The profiles of H.264 that are told apart, by what can decode what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Profile {
    /// Baseline with its constraint flag or without; what browsers call either is the constrained one.
    Baseline,
    /// Main.
    Main,
    /// High and its constrained form.
    High,
    /// Any other, known by its number: only itself can decode it.
    Other(u8),
}

impl Profile {
    fn of(fmtp: &str) -> Option<Self> {
        // RFC 6184, section 8.1: without the parameter it is Baseline at level 1.
        let text = param(fmtp, "profile-level-id").unwrap_or("42000a");
        if text.len() != 6 {
            return None;
        }
        let [idc, iop, _level] = u32::from_str_radix(text, 16).ok()?.to_be_bytes().last_chunk::<3>().copied()?;
        // Table 5 of RFC 6184: constraint_set1_flag on Baseline or constraint_set0_flag on Main is the same subset.
        Some(match idc {
            0x42 => Self::Baseline,
            0x4d if iop & 0x80 != 0 => Self::Baseline,
            0x4d => Self::Main,
            0x64 => Self::High,
            other => Self::Other(other),
        })
    }

    /// How well a decoder of this profile suits a stream; `None` where it cannot decode it.
    fn suits(self, stream: Self) -> Option<u32> {
        match (stream, self) {
            (a, b) if a == b => Some(3),
            (Self::Baseline, Self::Main) | (Self::Main, Self::High) => Some(2),
            (Self::Baseline, Self::High) => Some(1),
            _ => None,
        }
    }
}

/// How well an offered H.264 format suits a stream described by `wanted`; higher is better, `None` does not fit.
pub(super) fn h264_score(offered: &str, wanted: &str) -> Option<u32> {
    let profile = Profile::of(offered)?.suits(Profile::of(wanted)?)?;
    let mode = number(offered, "packetization-mode", 0)?;
    // Mode 2 interleaves (RFC 6184, section 6.4), which no browser reads.
    if mode > 1 {
        return None;
    }
    let same_mode = number(wanted, "packetization-mode", 0)? == mode;
    // Constrained Baseline is offered beside plain Baseline; the same text is the better of two equals.
    let same_id = match (param(offered, "profile-level-id"), param(wanted, "profile-level-id")) {
        (Some(a), Some(b)) => a.get(..4).zip(b.get(..4)).is_some_and(|(a, b)| a.eq_ignore_ascii_case(b)),
        _ => false,
    };
    Some(profile * 4 + u32::from(same_mode) * 2 + u32::from(same_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_read_in_any_case_and_place() {
        let fmtp = "minptime=10; UseInbandFec=1;x-google-start-bitrate=1000";
        assert_eq!(param(fmtp, "useinbandfec"), Some("1"));
        assert_eq!(param(fmtp, "stereo"), None);
        assert_eq!(number("", "profile-id", 0), Some(0));
        assert_eq!(number("profile-id=x", "profile-id", 0), None);
    }

    #[test]
    fn setting_a_parameter_replaces_it_in_place() {
        assert_eq!(with_param("a=1;stereo=0;b=2", "stereo", "1"), "a=1;stereo=1;b=2");
        assert_eq!(with_param("a=1", "usedtx", "1"), "a=1;usedtx=1");
        assert_eq!(with_param("", "usedtx", "1"), "usedtx=1");
        assert_eq!(with_param("stereo=1;stereo=1", "stereo", "1"), "stereo=1", "a repeated one is written once");
    }

    #[test]
    fn h264_profiles_fit_upwards_only() {
        let cb = "packetization-mode=1;profile-level-id=42e01f";
        let high = "packetization-mode=1;profile-level-id=640c1f";
        assert!(h264_score(high, cb).is_some(), "High decodes Baseline");
        assert_eq!(h264_score(cb, high), None, "Baseline does not decode High");
        assert!(h264_score(cb, cb) > h264_score("profile-level-id=42e01f", cb), "the same mode is better");
        assert!(h264_score(cb, cb) > h264_score("packetization-mode=1;profile-level-id=42001f", cb));
        assert!(h264_score("profile-level-id=42e034;packetization-mode=1", cb) == h264_score(cb, cb), "levels do not matter");
        assert_eq!(h264_score("packetization-mode=2;profile-level-id=42e01f", cb), None);
        assert_eq!(h264_score("profile-level-id=zz", cb), None);
    }
}
