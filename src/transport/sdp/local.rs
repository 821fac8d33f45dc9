//! Our own end in a description, the same whether it is offered or answered: session, transport and candidates.

use std::fmt::Write as _;

/// The port of a section in use: the real ones are in the candidates (RFC 9429, section 5.3.1).
pub(super) const PORT: u16 = 9;
/// The only SCTP port browsers use (RFC 8831, section 6.2).
pub(super) const SCTP_PORT: u16 = 5000;

/// Our end of a connection, as each description of it says.
#[derive(Clone, Copy)]
pub struct LocalEnd<'a> {
    /// Session id of the `o=` line, the same in every description to one client.
    pub session_id: u64,
    /// Its version, one more with every description.
    pub session_version: u64,
    /// Our ICE user name fragment.
    pub ice_ufrag: &'a str,
    /// Our ICE password.
    pub ice_pwd: &'a str,
    /// SHA-256 of our certificate.
    pub fingerprint: [u8; 32],
    /// Our candidates: what follows `a=candidate:` in each.
    pub candidates: &'a [String],
}

impl std::fmt::Debug for LocalEnd<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LocalEnd(…)")
    }
}

impl LocalEnd<'_> {
    /// The lines before the bundle, in a text with room for so many sections.
    pub(super) fn begin(&self, sections: usize) -> Text {
        let mut out = Text(String::with_capacity(1024 * (sections + 1)));
        out.line(format_args!("v=0"));
        out.line(format_args!("o=- {} {} IN IP4 0.0.0.0", self.session_id, self.session_version));
        out.line(format_args!("s=-"));
        out.line(format_args!("t=0 0"));
        out.line(format_args!("a=ice-lite"));
        out
    }

    /// The lines of the bundle's one transport, and the mid.
    pub(super) fn transport(&self, out: &mut Text, mid: &str, setup: &str) {
        out.line(format_args!("c=IN IP4 0.0.0.0"));
        credentials(out, self.ice_ufrag, self.ice_pwd, &self.fingerprint);
        out.line(format_args!("a=setup:{setup}"));
        out.line(format_args!("a=mid:{mid}"));
    }
}

/// The text as it grows; writing into a `String` cannot fail.
pub(super) struct Text(pub(super) String);

impl Text {
    pub(super) fn piece(&mut self, piece: std::fmt::Arguments<'_>) {
        let _ = self.0.write_fmt(piece);
    }

    pub(super) fn line(&mut self, line: std::fmt::Arguments<'_>) {
        self.piece(line);
        self.0.push_str("\r\n");
    }
}

/// What the far end checks us by.
fn credentials(out: &mut Text, ufrag: &str, pwd: &str, fingerprint: &[u8; 32]) {
    out.line(format_args!("a=ice-ufrag:{ufrag}"));
    out.line(format_args!("a=ice-pwd:{pwd}"));
    out.piece(format_args!("a=fingerprint:sha-256 "));
    for (index, byte) in fingerprint.iter().enumerate() {
        out.piece(format_args!("{}{byte:02X}", if index == 0 { "" } else { ":" }));
    }
    out.line(format_args!(""));
}

/// The candidates, in the first section in use.
pub(super) fn reach(out: &mut Text, candidates: Option<&[String]>) {
    let Some(candidates) = candidates else { return };
    for candidate in candidates {
        out.line(format_args!("a=candidate:{}", candidate.strip_prefix("candidate:").unwrap_or(candidate)));
    }
    out.line(format_args!("a=end-of-candidates"));
}
