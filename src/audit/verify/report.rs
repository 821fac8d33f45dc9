//! What a verification found, for people and for programs.

use super::super::types::Micros;
use serde_json::json;

/// What kind of thing was found; the number is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Code {
    /// Nothing: the log is what was written.
    Intact = 0,
    /// The end was cut off in the middle of a write.
    Torn = 2,
    /// An entry, the chain or the tree is not what was written.
    Content = 3,
    /// A signature, a certificate or the order of epochs is wrong.
    Signature = 4,
    /// Entries are missing, and no purge explains it.
    Gap = 5,
    /// The log contradicts a checkpoint that somebody else holds.
    Inconsistent = 6,
    /// Intact, but the newest entries are vouched for by nobody, or clocks jumped.
    Warning = 7,
}

impl Code {
    /// When several things are found, the first of these that is among them gives the exit code.
    const ORDER: [Self; 6] = [Self::Content, Self::Gap, Self::Signature, Self::Inconsistent, Self::Torn, Self::Warning];

    /// The exit code.
    #[must_use]
    pub fn exit(self) -> u8 {
        match self {
            Self::Intact => 0,
            Self::Torn => 2,
            Self::Content => 3,
            Self::Signature => 4,
            Self::Gap => 5,
            Self::Inconsistent => 6,
            Self::Warning => 7,
        }
    }

    fn verdict(self) -> &'static str {
        match self {
            Self::Intact => "intact",
            Self::Torn => "torn tail",
            Self::Content => "CHANGED",
            Self::Signature => "NOT SIGNED AS IT SHOULD BE",
            Self::Gap => "ENTRIES ARE MISSING",
            Self::Inconsistent => "CONTRADICTS A CHECKPOINT HELD ELSEWHERE",
            Self::Warning => "intact, with warnings",
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Of what kind.
    pub code: Code,
    /// What, in words.
    pub what: &'static str,
    /// At which entry, or at which size of the tree.
    pub at: Option<u64>,
}

/// What a verification found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The log's origin.
    pub origin: Option<String>,
    /// The first entry that is there.
    pub first: Option<u64>,
    /// Number of entries, purged ones included.
    pub size: u64,
    /// Number of entries under a signed head.
    pub signed: u64,
    /// Number of signed heads.
    pub checkpoints: u64,
    /// The epochs met.
    pub epochs: Vec<u32>,
    /// Entries whose clock was not synchronised.
    pub unsynced: u64,
    /// The time of the oldest entry that is there.
    pub oldest: Option<Micros>,
    /// The time of the newest entry.
    pub newest: Option<Micros>,
    /// Entries no witness has seen.
    pub unwitnessed_entries: u64,
    /// Seconds between the last witnessed entry and the newest.
    pub unwitnessed_seconds: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What is worth knowing.
    pub notes: Vec<&'static str>,
    code: Option<Code>,
}

/// Most findings of a report: one fault often brings thousands behind it, and the first say where it is.
const MOST_FINDINGS: usize = 64;

impl Report {
    /// The verdict.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code.unwrap_or(Code::Intact)
    }

    pub(super) fn find(&mut self, code: Code, what: &'static str, at: Option<u64>) {
        if self.findings.len() < MOST_FINDINGS || !self.findings.iter().any(|finding| finding.code == code) {
            self.findings.push(Finding { code, what, at });
        }
    }

    pub(super) fn note(&mut self, what: &'static str) {
        if !self.notes.contains(&what) {
            self.notes.push(what);
        }
    }

    pub(super) fn settle(&mut self) {
        let found = |code: &Code| self.findings.iter().any(|finding| finding.code == *code);
        self.code = Code::ORDER.into_iter().find(found);
    }

    /// For people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let time = |at: Option<Micros>| at.map_or_else(|| "-".to_owned(), Micros::to_text);
        let mut text = format!("{}: {}\n", self.origin.as_deref().unwrap_or("unknown log"), self.code().verdict());
        let first = self.first.unwrap_or(self.size);
        text.push_str(&format!("  entries      {first} to before {}, {} under a signed head\n", self.size, self.signed));
        text.push_str(&format!("  time         {} to {}\n", time(self.oldest), time(self.newest)));
        text.push_str(&format!("  seals        {} checkpoints in {} epochs\n", self.checkpoints, self.epochs.len()));
        text.push_str(&format!(
            "  unwitnessed tail: {} entries, {} seconds\n",
            self.unwitnessed_entries, self.unwitnessed_seconds
        ));
        if self.unsynced > 0 {
            text.push_str(&format!("  clock        {} entries with an unsynchronised clock\n", self.unsynced));
        }
        for note in &self.notes {
            text.push_str(&format!("  note         {note}\n"));
        }
        for finding in &self.findings {
            let at = finding.at.map_or_else(String::new, |at| format!(" (at {at})"));
            text.push_str(&format!("  {}            {}{at}\n", finding.code.exit(), finding.what));
        }
        text
    }

    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> String {
        let findings: Vec<_> = self
            .findings
            .iter()
            .map(|finding| json!({ "code": finding.code.exit(), "what": finding.what, "at": finding.at }))
            .collect();
        let report = json!({
            "code": self.code().exit(),
            "verdict": self.code().verdict(),
            "origin": self.origin,
            "first": self.first,
            "size": self.size,
            "signed": self.signed,
            "checkpoints": self.checkpoints,
            "epochs": self.epochs,
            "oldest": self.oldest.map(Micros::to_text),
            "newest": self.newest.map(Micros::to_text),
            "unsynced": self.unsynced,
            "unwitnessed": { "entries": self.unwitnessed_entries, "seconds": self.unwitnessed_seconds },
            "findings": findings,
            "notes": self.notes,
        });
        format!("{report:#}\n")
    }
}
